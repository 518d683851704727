// The checkpoint that ships with the program.
#pragma once
#include <filesystem>

namespace eav {

// Where it lies: installed beside the program, or in the source tree. Throws eav::Error when it is not there.
std::filesystem::path demo_model();

}  // namespace eav
