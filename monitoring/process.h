#pragma once

namespace transship::monitoring {

// What the kernel says about this process (proc(5)); zeros where it says nothing.
struct ProcessFigures {
  double resident_bytes = 0;
  double virtual_bytes = 0;
  double cpu_seconds = 0;
  double open_files = 0;
  double open_files_max = 0;
  double start_time_seconds = 0;  // since the epoch
};
ProcessFigures read_process_figures();

}  // namespace transship::monitoring
