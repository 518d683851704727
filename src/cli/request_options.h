// The options that say how videos are made, which several commands share.
#pragma once
#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "pipeline/record.h"

namespace eav {

// What options change in the model, runtime and request of a record, or in the defaults; in the order of the options.
using Changes = std::vector<std::function<void(Record&)>>;

// Adds options that change a record, which go to `changes`; that must outlive the command.
struct ChangeOptions {
  CLI::App& command;
  Changes& changes;

  // What gets an option's value, and has it applied to the record.
  auto change(auto apply) const {
    return
        [&list = changes, apply](const auto& value) { list.push_back([=](Record& record) { apply(record, value); }); };
  }
  void text(const char* name, const char* kind, const char* description, auto apply) const {
    command.add_option_function<std::string>(name, change(apply), description)->type_name(kind);
  }
  void flag(const char* name, const char* description, auto apply) const {
    command.add_flag_callback(
        name, [&list = changes, apply] { list.push_back(apply); }, description);
  }
};

// Adds --model, --steps and the like; what is given goes to `changes`, which must outlive the command.
void add_request_options(CLI::App& command, Changes& changes);

}  // namespace eav
