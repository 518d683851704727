// eav convert: writes a model's weights in other types.
#include "eav/convert.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "commands.h"
#include "eav/human.h"
#include "interrupt.h"
#include "printable.h"
#include "request_options.h"
#include "terminal.h"

namespace eav {

Command add_convert(CLI::App& program) {
  auto& command = *program.add_subcommand("convert", "Write a model's weights in another type: a file for each part");
  const auto asked = std::make_shared<Conversion>();
  command.add_option("MODEL", asked->paths.model, "Checkpoint folder, or single file of the transformer")
      ->type_name("")
      ->required();
  command.add_option("--type", asked->type, fmt::format("Type of matrices: {}", fmt::join(conversion_types(), ", ")))
      ->type_name("TYPE")
      ->required();
  command
      .add_option("--out", asked->out,
                  "Files to write, .gguf or .safetensors: wan.gguf becomes wan-transformer.gguf and so on")
      ->type_name("FILE")
      ->required();
  add_part_options(command, asked->paths);
  command.add_flag("--one-file", asked->one_file, "All parts in FILE itself, under ComfyUI's names for such a file");
  command.add_flag("--overwrite", asked->overwrite, "Replace files that exist");
  return {&command, [asked] {
            Interrupt interrupt;
            TerminalProgress progress(interrupt);
            try {
              for (const auto& [part, file, bytes] : convert(*asked, progress))
                print_text("{}  {}\n", file.string(), human_size(bytes));
            } catch (const Cancelled&) {
              return interrupt.exit_code();
            }
            return 0;
          }};
}

}  // namespace eav
