// Sizes of files and of memory as people read them.
#pragma once
#include <cstdint>
#include <string>

namespace [[gnu::visibility("default")]] eav {

// "31 kB", "3.4 GB"; powers of 1,000.
std::string human_size(int64_t bytes);

}  // namespace eav
