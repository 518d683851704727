// The options that say how videos are made, which several commands share: flags are made from what families declare.
#pragma once
#include <CLI/CLI.hpp>
#include <optional>
#include <set>
#include <string>

#include "eav/generator.h"
#include "eav/record.h"

namespace eav {

// What a command line asks for.
struct AskedOptions {
  ModelPaths paths;
  Settings settings;
  std::optional<std::string> device;
  std::optional<std::string> dtype, quantize;
  std::optional<int> threads;
  bool offload = false;
  bool fast = false;
  bool without_loras = false;  // those of a record

  // Changes the paths and the runtime that a record has, or the defaults.
  ModelPaths paths_over(const ModelPaths& recorded) const;
  Runtime runtime_over(Runtime recorded) const;
  // Sets what is asked for. A size or length by its name takes the place of the one in pixels or frames.
  Request over(Request request) const;
};

// Adds the options of a model's parts, and with them --model.
void add_part_options(CLI::App& command, ModelPaths& paths);
void add_model_options(CLI::App& command, ModelPaths& paths, const char* model_help);

// Adds --model, --steps and the like, but for the options named in `without`; what is given goes to `asked`, which must
// outlive the command.
void add_request_options(CLI::App& command, AskedOptions& asked, const std::set<std::string>& without);

}  // namespace eav
