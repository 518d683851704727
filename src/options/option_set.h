// The options of a video as plain values: a struct derived from OptionSet declares each of them in the line that reads
// it.
//
//   struct Options : CommonOptions {
//     double guidance_rescale = number("guidance_rescale", "How far guidance keeps the spread of the result", {0, 1},
//     0);
//   };
#pragma once
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "eav/option.h"

namespace eav {

// What holds where nobody asks: a value, or in words where it depends on the checkpoint or is none at all.
template <class T>
struct Standard {
  std::optional<T> value = {};
  std::string words = {};
  Standard(T value) : value(std::move(value)) {}  // NOLINT(google-explicit-constructor)
  Standard(const char* words)
    requires(!std::is_convertible_v<const char*, T>)
      : words(words) {}  // NOLINT
  Standard(T value, std::string words) : value(std::move(value)), words(std::move(words)) {}
  static Standard in_words(std::string words) {
    Standard standard;
    standard.words = std::move(words);
    return standard;
  }

 private:
  Standard() = default;
};

// What a user asks for, and what a checkpoint says should hold otherwise (its eav.json), in place of the family's own
// defaults.
struct Asked {
  Settings values = {}, standards = {};
};

class OptionSet {
 public:
  // The options in the order of their declarations.
  const std::vector<OptionSpec>& specs() const { return specs_; }
  // The value of every declared option that has one.
  const Settings& values() const { return values_; }

 protected:
  struct Range {
    double least, most;
  };
  static constexpr double kMostWhole = std::numeric_limits<int32_t>::max();

  explicit OptionSet(Asked asked) : asked_(std::move(asked)) {}

  // Declares an option; its value is the one asked for, else the standard one. Throws eav::Error where the value that
  // is asked for does not serve.
  std::optional<Value> declare(OptionSpec spec);

  bool boolean(const std::string& name, const std::string& help, bool standard = false);
  int64_t whole(const std::string& name, const std::string& help, Range range, const Standard<int64_t>& standard);
  double number(const std::string& name, const std::string& help, Range range, const Standard<double>& standard);
  std::string choice(const std::string& name, const std::string& help, std::vector<std::string> choices,
                     const Standard<std::string>& standard);
  std::vector<double> numbers(const std::string& name, const std::string& help, const std::string& standard_words);
  // Options that need not have a value.
  std::optional<double> number_or_none(const std::string& name, const std::string& help, Range range,
                                       const std::string& standard_words);
  std::optional<std::string> text_or_none(const std::string& name, const std::string& help,
                                          const std::string& standard_words = "", const std::string& kind = "");
  // One that is resolved into others, whose place it takes in records.
  std::optional<std::string> name_for(std::vector<std::string> others, const std::string& name, const std::string& help,
                                      const std::string& kind, const std::string& standard_words);

  // Says so of all that was declared until now.
  void every_family_has_these();

  bool is_asked(const std::string& name) const { return asked_.values.contains(name); }
  // Sets what an option came to, where other things than its declaration decide.
  void resolve(const std::string& name, Value value) { values_[name] = std::move(value); }

 private:
  Asked asked_;
  Settings values_;
  std::vector<OptionSpec> specs_;
};

}  // namespace eav
