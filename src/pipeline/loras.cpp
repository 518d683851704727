#include "pipeline/loras.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <charconv>
#include <cmath>
#include <memory>
#include <utility>

#include "eav/error.h"
#include "weights/lora.h"

namespace eav {
namespace {

constexpr std::array kExperts{std::pair{Lora::Expert::high, "high"}, std::pair{Lora::Expert::low, "low"}};

// Takes what stands behind the last colon of a text, where read(it) gives a value.
template <class Read>
auto take_last(std::string& text, const Read& read) -> decltype(read(text)) {
  const auto colon = text.rfind(':');
  if (colon == std::string::npos) return std::nullopt;
  const auto value = read(text.substr(colon + 1));
  if (value) text.resize(colon);
  return value;
}

std::optional<Lora::Expert> read_expert(const std::string& text) {
  for (const auto& [expert, name] : kExperts)
    if (text == name) return expert;
  return std::nullopt;
}

std::optional<double> read_strength(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool number = error == std::errc() && end == text.data() + text.size() && std::isfinite(value);
  return number ? std::optional(value) : std::nullopt;
}

// "2 of no layer of this model (a, b)"
std::string in_words(const std::map<std::string, std::vector<std::string>>& left_out) {
  std::string text;
  for (const auto& [reason, keys] : left_out)
    text += fmt::format("{}{} {} ({}{})", text.empty() ? "" : ", ", keys.size(), reason, keys[0],
                        keys.size() > 1 ? ", …" : "");
  return text;
}

size_t count(const std::map<std::string, std::vector<std::string>>& left_out) {
  size_t tensors = 0;
  for (const auto& [reason, keys] : left_out) tensors += keys.size();
  return tensors;
}

}  // namespace

Lora Lora::parse(const std::string& text) {
  Lora lora;
  auto path = text;
  lora.expert = take_last(path, read_expert).value_or(Expert::both);
  lora.strength = take_last(path, read_strength);
  if (path.empty())
    throw Error("lora", fmt::format("\"{}\" names no file: write FILE, FILE:0.8 or FILE:0.8:high", text));
  lora.file = path;
  return lora;
}

std::string Lora::str() const {
  auto text = file.filename().string();
  if (strength) text += fmt::format(":{}", *strength);
  if (expert != Expert::both) text += ":" + to_string(expert);
  return text;
}

Lora::Expert parse_expert(const std::string& name) {
  if (const auto expert = read_expert(name)) return *expert;
  throw Error("lora", fmt::format("\"{}\" is no expert of a model: choose high or low", name));
}

std::string to_string(Lora::Expert expert) {
  for (const auto& [known, name] : kExperts)
    if (known == expert) return name;
  return "";
}

std::optional<LoraInfo> inspect_lora(const std::filesystem::path& file) {
  if (!LoraFile::is_lora(SafetensorsFile(file))) return std::nullopt;
  return LoraFile(file).info();
}

std::vector<std::string> apply_loras(const std::vector<Lora>& loras, Family& family) {
  if (loras.empty()) return {};
  struct Target {
    PartFiles* part;
    LayerNames names;
    std::shared_ptr<Patches> patches;
  };
  std::vector<Target> targets;
  for (auto* part : family.parts(Phase::transformer))
    if (part->name().starts_with("transformer"))  // others work in that phase too
      targets.push_back({part, LayerNames(part->tensors(), part->keys().original, part->keys().channels),
                         std::make_shared<Patches>()});

  std::vector<std::string> notes;
  for (const auto& lora : loras) {
    if (lora.expert != Lora::Expert::both && targets.size() == 1)
      throw Error("lora", fmt::format("{}: this model has one transformer: leave ':{}' out", lora.file.string(),
                                      to_string(lora.expert)));
    const LoraFile file(lora.file);
    LoraFit last;
    for (size_t i = 0; i < targets.size(); ++i) {
      if (lora.expert == (i == 0 ? Lora::Expert::low : Lora::Expert::high)) continue;
      auto& [part, names, patches] = targets[i];
      last = fit(file, lora.strength.value_or(1), part->tensors(), names, *patches);
    }
    if (last.tensors == 0) {
      const auto made_for = file.info().made_for;
      throw Error(
          "lora",
          fmt::format("{}: fits nothing of this model, which is {}{}: {}", lora.file.string(), family.name(),
                      made_for.empty() ? "" : fmt::format(", and was made for {}", made_for), in_words(last.left_out)));
    }
    const auto* of = targets.size() == 1                 ? ""
                     : lora.expert == Lora::Expert::both ? " of each expert"
                                                         : " of that expert";
    auto note = fmt::format("{}: {} layers{} changed", lora.str(), last.layers, of);
    if (!last.left_out.empty())
      note += fmt::format(" by {} of its {} tensors; left out: {}", last.tensors, last.tensors + count(last.left_out),
                          in_words(last.left_out));
    notes.push_back(std::move(note));
  }
  for (auto& target : targets) target.part->patch(std::move(target.patches));
  return notes;
}

}  // namespace eav
