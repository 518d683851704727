// Numbers as people read them.
#pragma once
#include <cstdint>
#include <string>

namespace eav {

// "31 kB", "3.4 GB"
std::string human_size(int64_t bytes);

}  // namespace eav
