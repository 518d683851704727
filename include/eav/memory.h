// How much memory there is, and how a program should hold it.
#pragma once
#include <cstdint>
#include <string>

namespace [[gnu::visibility("default")]] eav {

// Bytes that a run may still take on the device ("cpu", "cuda" or "cuda:N"): on a CPU the system's available memory,
// within this process's control group. Throws eav::Error where there is no such device.
int64_t available_memory(const std::string& device);

// Keeps the memory of freed tensors for the next ones instead of giving it back to the system, which would clear every
// page anew: that was 3 % of a transformer's step. The program takes no more for it than its tensors needed at some
// time. For a whole program, of which it changes ATen's allocator of CPU tensors; called before anything is computed.
void keep_freed_memory();

}  // namespace eav
