// What libFuzzer calls: the target that the environment variable EAV_FUZZ_TARGET names.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto target = [] {
    const char* name = std::getenv("EAV_FUZZ_TARGET");
    const auto found = eav::fuzz::targets().find(name ? name : "");
    if (found != eav::fuzz::targets().end()) return found->second;
    std::fputs("EAV_FUZZ_TARGET names no target; there are:", stderr);
    for (const auto& [known, unused] : eav::fuzz::targets()) std::fprintf(stderr, " %s", known.c_str());
    std::fputs("\n", stderr);
    std::exit(2);
  }();
  target({reinterpret_cast<const char*>(data), size});
  return 0;
}
