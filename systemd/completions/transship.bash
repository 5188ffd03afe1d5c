# Completion of transship(1) for bash.
_transship() {
  local cur prev words cword command options
  _init_completion || return
  case $prev in
    --config) _filedir '@(yaml|yml)'; return ;;
    --output) mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$cur"); return ;;
    --rule | --target | --url) return ;;
  esac
  command=${words[1]}
  if ((cword == 1)); then
    mapfile -t COMPREPLY < <(compgen -W 'run check plan sync verify copy status why dead --help --version' -- "$cur")
    return
  fi
  case $command in
    run) options='--config' ;;
    check) options='--config --output --online' ;;
    plan) options='--config --output --rule --target' ;;
    sync) options='--config --output --rule --target --closure --allow-deletes' ;;
    verify) options='--config --output --rule --target --deep' ;;
    copy) options='--config --output --referrers' ;;
    status) options='--config --output --url' ;;
    why) options='--config --output --target --url' ;;
    dead)
      if ((cword == 2)); then
        mapfile -t COMPREPLY < <(compgen -W 'list retry drop' -- "$cur")
        return
      fi
      options='--config --output --url --target'
      [[ ${words[2]} == list ]] || options+=' --all'
      ;;
  esac
  [[ $cur == -* ]] && mapfile -t COMPREPLY < <(compgen -W "$options --help" -- "$cur")
} && complete -F _transship transship
