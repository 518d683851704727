// The options that say how videos are made, which several commands share.
#pragma once
#include <CLI/CLI.hpp>
#include <functional>
#include <vector>

#include "pipeline/record.h"

namespace eav {

// What options change in the model, runtime and request of a record, or in the defaults; in the order of the options.
using Changes = std::vector<std::function<void(Record&)>>;

// Adds --model, --steps and the like; what is given goes to `changes`, which must outlive the command.
void add_request_options(CLI::App& command, Changes& changes);

}  // namespace eav
