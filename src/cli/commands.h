// The commands of `eav`. Each adds its options to the program; what it returns is run once they are read, and returns
// the exit code.
#pragma once
#include <CLI/CLI.hpp>
#include <functional>

namespace eav {

struct Command {
  CLI::App* app;
  std::function<int()> run;
};

Command add_generate(CLI::App& program);
Command add_inspect(CLI::App& program);
Command add_options(CLI::App& program);
Command add_evaluate(CLI::App& program);
Command add_compare(CLI::App& program);
Command add_attention_maps(CLI::App& program);
Command add_convert(CLI::App& program);
Command add_pull(CLI::App& program);
Command add_bench(CLI::App& program);

}  // namespace eav
