#include "config/document.h"

#include <fmt/format.h>
#include <yaml-cpp/anchor.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <map>
#include <optional>
#include <sstream>

#include "config/characters.h"

namespace transship::config {

namespace {

Position position_of(const YAML::Mark& mark) {
  return mark.is_null() ? Position{} : Position{mark.line + 1, mark.column + 1};
}

// The text by places.
class Lines {
 public:
  explicit Lines(std::string_view text) : text_(text) {
    for (std::size_t at = 0; at < text.size(); ++at) {
      if (text[at] == '\n') starts_.push_back(at + 1);
    }
  }

  // Everything from the place on; empty where the text has no such place.
  std::string_view operator[](const Position& position) const {
    const auto line = static_cast<std::size_t>(position.line) - 1;
    if (line >= starts_.size()) return {};
    const std::size_t at = starts_[line] + static_cast<std::size_t>(position.column) - 1;
    return at < text_.size() ? text_.substr(at) : std::string_view{};
  }

 private:
  std::string_view text_;
  std::vector<std::size_t> starts_ = {0};
};

// Builds the tree from yaml-cpp's events. A fault is thrown, through yaml-cpp, to parse_document.
class Builder final : public YAML::EventHandler {
 public:
  explicit Builder(const Lines& lines) : lines_(lines) {}

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (!root_) return;
    const Position position = position_of(mark);
    throw Fault{position, lines_[position].starts_with("---")
                              ? "a second document; write one document in a file"
                              : "does not belong to what is above it; is the indentation right?"};
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    add_leaf(make(Node::Kind::null, mark), anchor);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchored_.find(anchor);
    if (found == anchored_.end()) throw Fault{position_of(mark), "an alias inside its own anchor"};
    add(found->second, position_of(mark));
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse_tag(mark, tag);
    refuse_open_quote(position_of(mark));
    auto node = make(Node::Kind::scalar, mark);
    node->scalar = value;
    add_leaf(std::move(node), anchor);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value /*style*/) override {
    open(Node::Kind::list, mark, tag, anchor);
  }
  void OnSequenceEnd() override { close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value /*style*/) override {
    open(Node::Kind::map, mark, tag, anchor);
  }
  void OnMapEnd() override { close(); }

  NodePtr root() const { return root_ ? root_ : std::make_shared<const Node>(); }

 private:
  struct Key {
    std::string text;
    Position position;
  };
  struct Open {
    std::shared_ptr<Node> node;
    YAML::anchor_t anchor = 0;
    std::optional<Key> key;  // of a map: read, and its value not yet
  };

  // yaml-cpp calls a plain scalar "?", a quoted one "!".
  static void refuse_tag(const YAML::Mark& mark, const std::string& tag) {
    if (tag.empty() || tag == "?" || tag == "!") return;
    throw Fault{position_of(mark), fmt::format("the tag {} has no meaning here", tag)};
  }

  std::shared_ptr<Node> make(Node::Kind kind, const YAML::Mark& mark) {
    if (++nodes_ > max_nodes) {
      throw Fault{position_of(mark), fmt::format("more than {} values", max_nodes)};
    }
    auto node = std::make_shared<Node>();
    node->kind = kind;
    node->position = position_of(mark);
    return node;
  }

  void open(Node::Kind kind, const YAML::Mark& mark, const std::string& tag,
            YAML::anchor_t anchor) {
    refuse_tag(mark, tag);
    if (open_.size() == max_nesting) {
      throw Fault{position_of(mark), fmt::format("nested more than {} deep", max_nesting)};
    }
    refuse_key(position_of(mark));
    open_.push_back({make(kind, mark), anchor, std::nullopt});
  }

  void close() {
    const Open closed = std::move(open_.back());
    open_.pop_back();
    remember(closed.anchor, closed.node);
    add(closed.node, closed.node->position);
  }

  void add_leaf(std::shared_ptr<Node> node, YAML::anchor_t anchor) {
    const bool is_value = !open_.empty() && open_.back().key;
    // yaml-cpp gives a value that is missing the place of whatever comes next.
    if (is_value && node->kind == Node::Kind::null) {
      const Position key = open_.back().key->position;
      if (node->position.line != key.line || node->position < key) node->position = key;
    }
    remember(anchor, node);
    const Position position = node->position;
    add(std::move(node), position);
  }

  void remember(YAML::anchor_t anchor, const NodePtr& node) {
    if (anchor != YAML::NullAnchor) anchored_[anchor] = node;
  }

  // yaml-cpp lets the end of the text close a quote.
  void refuse_open_quote(const Position& position) const {
    std::string_view rest = lines_[position];
    const char quote = rest.empty() ? ' ' : rest.front();
    if (quote != '"' && quote != '\'') return;
    for (rest.remove_prefix(1); !rest.empty(); rest.remove_prefix(1)) {
      const bool escaped = quote == '"' ? rest.front() == '\\' : rest.starts_with("''");
      if (escaped && rest.size() > 1) {
        rest.remove_prefix(1);
      } else if (rest.front() == quote) {
        return;
      }
    }
    throw Fault{position, "a quote that is not closed"};
  }

  // Only a scalar can be a key. (An open bracket ends up here too: yaml-cpp takes it for the start
  // of a key.)
  void refuse_key(const Position& position) const {
    if (open_.empty() || open_.back().node->kind != Node::Kind::map || open_.back().key) return;
    throw Fault{position, "a key must be a plain word; or is a bracket not closed?"};
  }

  void add(NodePtr node, const Position& position) {
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    Open& parent = open_.back();
    if (parent.node->kind == Node::Kind::list) {
      parent.node->list.push_back(std::move(node));
    } else if (parent.key) {
      parent.node->map.push_back(
          {std::move(parent.key->text), parent.key->position, std::move(node)});
      parent.key.reset();
    } else {
      if (node->kind != Node::Kind::scalar) refuse_key(position);
      parent.key = Key{node->scalar, position};
    }
  }

  const Lines& lines_;
  NodePtr root_;
  std::vector<Open> open_;
  std::map<YAML::anchor_t, NodePtr> anchored_;
  std::size_t nodes_ = 0;
};

Fault syntax_fault(const Lines& lines, const YAML::Exception& exception) {
  Fault fault{position_of(exception.mark), fmt::format("not YAML: {}", exception.msg)};
  const std::string_view rest = lines[{fault.position.line, 1}];
  if (rest.substr(0, rest.find('\n')).find("${") != std::string_view::npos) {
    fault.message += "; inside {…} and […], quote it: \"${NAME}\"";
  }
  return fault;
}

}  // namespace

tl::expected<NodePtr, Fault> parse_document(std::string_view text) {
  if (auto fault = find_forbidden_character(text)) return tl::unexpected(*std::move(fault));
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);  // a byte order mark has no column
  const Lines lines(text);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    Builder builder(lines);
    while (parser.HandleNextDocument(builder)) {
    }
    return builder.root();
  } catch (const YAML::Exception& exception) {
    return tl::unexpected(syntax_fault(lines, exception));
  } catch (const Fault& fault) {
    return tl::unexpected(fault);
  }
}

}  // namespace transship::config
