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
                       uint64_t most, std::function<void(uint64_t)> set);

// Adds an option for a finite number from `least` to `most`.
CLI::Option* add_number(CLI::App& command, const std::string& name, const std::string& description, double least,
                        double most, std::function<void(double)> set);

// The parts of a list such as "1,2,auto".
std::vector<std::string> split(const std::string& list);

// The finite number from `least` to `most` that `text` is. Throws CLI::ValidationError that names the option.
double parse_number(const std::string& option, const std::string& text, double least, double most);

// Adds an option for one of `choices`.
void add_choice(CLI::App& command, const std::string& name, const std::string& description,
                std::vector<std::string> choices, std::function<void(const std::string&)> set);

}  // namespace eav
