// LoRAs: files of small changes to the weights of a model's transformer.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace [[gnu::visibility("default")]] eav {

// One to be applied, and how much of it.
struct Lora {
  // Which transformer of a model with two it is for: the one of high noise, with which a video begins, or of low noise.
  enum class Expert { both, high, low };

  std::filesystem::path file;           // .safetensors, of any writer
  std::optional<double> strength = {};  // what it adds is multiplied by; unset: 1
  Expert expert = Expert::both;

  // Reads "FILE", "FILE:0.8" and "FILE:0.8:high", from the right: the file's path may have colons. Throws eav::Error
  // where there is no path.
  static Lora parse(const std::string& text);
  // As parse() reads it, with the name of the file in the place of its path.
  std::string str() const;
  bool operator==(const Lora&) const = default;
};

// Throws eav::Error that lists "high" and "low".
Lora::Expert parse_expert(const std::string& name);
// "high", "low", or empty for both.
std::string to_string(Lora::Expert expert);

// What a file of a LoRA holds.
struct LoraInfo {
  std::string form;      // "LoRA", "LoHa", "LoKr", "differences", "DoRA", several joined by ", "
  std::string writer;    // whose names its layers have: "diffusers or PEFT", "ComfyUI", "kohya or musubi-tuner", …
  std::string made_for;  // the family of models, and its channels where they are told; empty where neither is
  int64_t layers = 0;    // that it changes
  int64_t rank_least = 0, rank_most = 0;  // of its products; 0 where there are none
  int64_t parameters = 0;
};

// Nothing where the file is a safetensors file of something else. Throws eav::Error where it is none, or a damaged
// LoRA.
std::optional<LoraInfo> inspect_lora(const std::filesystem::path& file);

}  // namespace eav
