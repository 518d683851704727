// Options whose values are checked where they are read, with messages that say what would work.
#pragma once
#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace eav {

// Adds an option for a whole number from `least` to `most`; `set` gets it.
CLI::Option* add_whole(CLI::App& command, const std::string& name, const std::string& description, uint64_t least,
                       uint64_t most, const std::function<void(uint64_t)>& set);

// Adds an option for a finite number from `least` to `most`.
CLI::Option* add_number(CLI::App& command, const std::string& name, const std::string& description, double least,
                        double most, const std::function<void(double)>& set);

// "vae_tiling" -> "--vae-tiling"
std::string flag_of(const std::string& option);

// The parts of a list such as "1,2,auto".
std::vector<std::string> split(const std::string& list);

}  // namespace eav
