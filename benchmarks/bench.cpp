// eav_bench THREADS PART ARGUMENTS…: runs the part once for each line on standard input and answers with a line of the
// seconds that it took and the process's peak memory in MiB. So a driver can alternate it with a reference in one run.
// eav_bench THREADS blocks PART ARGUMENTS…: the same for a transformer of which the first block of each kind is loaded
// alone; the seconds are theirs, and those of each kind stand behind the memory, by the names of the kinds.
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
      {"cfi", cfi},
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
  Arguments arguments(argv + 1, argv + argc);
  eav::keep_freed_memory();  // as eav does
  at::set_num_threads(std::stoi(arguments.at(0)));
  const c10::InferenceMode inference;
  const bool blocks = arguments.at(1) == "blocks";
  const auto part = arguments.at(blocks ? 2 : 1);
  arguments.erase(arguments.begin(), arguments.begin() + (blocks ? 3 : 2));
  if (blocks) arguments.probe = std::make_shared<eav::BlockProbe>();
  const auto run = parts.at(part)(arguments);

  for (std::string line; std::getline(std::cin, line);) {
    const auto start = std::chrono::steady_clock::now();
    run();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    auto all = seconds.count();
    std::string of_each;
    if (blocks) {
      all = 0;
      for (auto& [name, list] : arguments.probe->lists) {
        const auto one = list.seconds.empty() ? 0 : list.seconds.back();
        all += one;
        of_each += fmt::format(" {:.6f}", one);
      }
    }
    std::cout << fmt::format("{:.6f} {:.1f}{}", all, peak_memory_mib(), of_each) << std::endl;
  }
} catch (const std::exception& error) {
  std::cerr << "eav_bench: " << error.what() << '\n';
  return 1;
}
