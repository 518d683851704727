// eav_bench THREADS PART ARGUMENTS…: runs the part once for each line on standard input and answers with a line of the
// seconds that it took and the process's peak memory in MiB. So a driver can alternate it with a reference in one run.
#include "bench.h"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <sys/resource.h>

#include <chrono>
#include <iostream>
#include <map>

int main(int argc, char** argv) try {
  using namespace eav::bench;
  const std::map<std::string, Prepare> parts{
      {"transformer", transformer},
      {"vae_decode", vae_decode},
  };
  const Arguments arguments(argv + 1, argv + argc);
  at::set_num_threads(std::stoi(arguments.at(0)));
  const c10::InferenceMode inference;
  const auto run = parts.at(arguments.at(1))({arguments.begin() + 2, arguments.end()});

  for (std::string line; std::getline(std::cin, line);) {
    const auto start = std::chrono::steady_clock::now();
    run();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    std::cout << fmt::format("{:.6f} {:.1f}", seconds.count(), static_cast<double>(usage.ru_maxrss) / 1024)
              << std::endl;
  }
} catch (const std::exception& error) {
  std::cerr << "eav_bench: " << error.what() << '\n';
  return 1;
}
