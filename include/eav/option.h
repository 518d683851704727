// Options of a video: what they are called, what they take, and values of them. Each is declared once, by the family of
// models that has it or among those that every family has; flags, records, forms and documentation are made from that.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace [[gnu::visibility("default")]] eav {

// A picture or clip that the video shows, or sets out from. Which ones a checkpoint takes is its family's matter.
struct Condition {
  std::filesystem::path file;
  bool is_video = false;  // all of its frames count, not one
  std::optional<int64_t> frame_index =
      {};                               // of the video, where the condition begins; negative: from the end; unset: 0
  std::optional<double> strength = {};  // 0 to 1, how closely the video follows it; unset: 1
  bool operator==(const Condition&) const = default;
};

using Value = std::variant<bool, int64_t, uint64_t, double, std::string, std::vector<double>, std::vector<Condition>>;
// Values by the names of their options, such as {"guidance_rescale", 0.7}.
using Settings = std::map<std::string, Value>;

struct OptionSpec {
  enum class Type {
    boolean,     // bool
    whole,       // int64_t, from `least` to `most`
    seed,        // uint64_t
    number,      // double, from `least` to `most`; a whole one serves too. Or one of `choices`, where there are any
    text,        // string
    choice,      // string, one of `choices`
    numbers,     // vector<double>
    conditions,  // vector<Condition>; `choices` are the parts of one that the model takes: "image", "video",
                 // "last_image", "frame_index", "strength"
  };

  std::string name;  // "guidance_rescale", as records hold it; the command line calls it --guidance-rescale
  std::string help;  // one line, without the default
  Type type = Type::boolean;
  double least = 0, most = 0;
  std::vector<std::string> choices = {};
  std::optional<Value> standard = {};  // what holds where nobody asks; unset: nothing, or what `standard_words` say
  std::string standard_words = {};     // in place of a value, such as "the checkpoint's"
  std::string kind = {};               // what stands for the value in help, such as "FILE"; empty: by the type
  bool common = false;                 // every family has it
  bool recorded = true;                // false where a record does not hold it,
  std::vector<std::string> stands_for = {};  // but these, which it is resolved into
};

// The value that a text stands for: "0.5", "auto", "true", "1000,909.5,725". Throws eav::Error that says what would
// work, without the option's name; conditions cannot be given so.
Value parse_value(const OptionSpec& spec, const std::string& text);
// What may stand for a value in help: "N", "on|off|auto", "TEXT"; empty for a boolean.
std::string kind_of_value(const OptionSpec& spec);
// The value in words: "0.5", "off", "1000, 909.5".
std::string to_string(const Value& value);
// The default in words; empty where there is none.
std::string standard_in_words(const OptionSpec& spec);

// The value as the option holds it: a whole number becomes a real one where that is declared. Throws eav::Error, with
// the option's name, when it is of another type, out of its range or none of its choices.
Value checked(const OptionSpec& spec, const Value& value);

// What a family of models declares.
struct FamilyOptions {
  std::string family;  // "LTX-Video"
  std::vector<OptionSpec> options;
};
// Those of every family, with the defaults that hold for any checkpoint of it.
const std::vector<FamilyOptions>& all_options();

// An option with all that its families say of it.
struct SharedOption {
  OptionSpec spec;                    // what any of them takes
  std::vector<std::string> families;  // that have it
  std::string standards;              // their defaults in words: "50; Open-Sora 30"
  // The families that take a part of a condition, such as "last_image".
  std::map<std::string, std::vector<std::string>> families_of_parts = {};
};
// Every option once: common ones first, then those of several families, then of one.
const std::vector<SharedOption>& shared_options();
// nullptr where no family has such an option.
const SharedOption* find_option(const std::string& name);

// Every option and its defaults as Markdown: docs/options.md.
std::string options_markdown();
// Options as a JSON list, for programs that draw forms.
std::string options_json(const std::vector<OptionSpec>& options);

}  // namespace eav
