// eav_bench THREADS PART ARGUMENTS…: runs the part once for each line on standard input and answers with a line of the
// seconds that it took and the process's peak memory in MiB. So a driver can alternate it with a reference in one run.
#include "bench.h"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <map>

#include "pipeline/memory.h"

namespace {

// Of this program alone: getrusage() would count what its parent held when it started it.
double peak_memory_mib() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (double kib = 0; word == "VmHWM:" && status >> kib) return kib / 1024;
  return 0;
}

}  // namespace

int main(int argc, char** argv) try {
  using namespace eav::bench;
  const std::map<std::string, Prepare> parts{
      {"attention", attention},
      {"int8_block", int8_block},
      {"int8_linear", int8_linear},
      {"linear", linear},
      {"transformer", transformer},
      {"vae_decode", vae_decode},
      {"hunyuan_video", hunyuan_video},
      {"ltx_video", ltx_video},
      {"open_sora", open_sora},
      {"t5", t5},
      {"wan", wan},
  };
  const Arguments arguments(argv + 1, argv + argc);
  eav::keep_freed_memory();  // as eav does
  at::set_num_threads(std::stoi(arguments.at(0)));
  const c10::InferenceMode inference;
  const auto run = parts.at(arguments.at(1))({arguments.begin() + 2, arguments.end()});

  for (std::string line; std::getline(std::cin, line);) {
    const auto start = std::chrono::steady_clock::now();
    run();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    std::cout << fmt::format("{:.6f} {:.1f}", seconds.count(), peak_memory_mib()) << std::endl;
  }
} catch (const std::exception& error) {
  std::cerr << "eav_bench: " << error.what() << '\n';
  return 1;
}
