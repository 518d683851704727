// A request's fields by the names of their options, and reading and writing its small values.
#include "eav/request.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <functional>
#include <utility>

#include "eav/error.h"

namespace eav {

LayerSet LayerSet::parse(const std::string& text) {
  const auto fail = [&] {
    return Error(fmt::format("\"{}\" is no list of layers: write numbers and ranges such as 0-5,8", text));
  };
  LayerSet layers;
  if (text.empty()) return layers;
  const char *at = text.data(), *const end = at + text.size();
  const auto number = [&] {
    int64_t value = -1;
    const auto [next, error] = std::from_chars(at, end, value);
    if (error != std::errc() || value < 0) throw fail();
    at = next;
    return value;
  };
  while (true) {
    Range range{};
    range.first = range.last = number();
    if (at != end && *at == '-') {
      ++at;
      range.last = number();
    }
    if (range.last < range.first) throw fail();
    layers.ranges.push_back(range);
    if (at == end) return layers;
    if (*at++ != ',') throw fail();
  }
}

std::string LayerSet::str() const {
  std::string text;
  for (const auto& [first, last] : ranges)
    text += fmt::format("{}{}", text.empty() ? "" : ",",
                        first == last ? fmt::format("{}", first) : fmt::format("{}-{}", first, last));
  return text;
}

bool LayerSet::contains(int64_t layer) const {
  return ranges.empty() ||
         std::any_of(ranges.begin(), ranges.end(), [&](const Range& r) { return r.first <= layer && layer <= r.last; });
}

LayerSet LayerSet::within(int64_t first, int64_t last) const {
  LayerSet inside;
  for (const auto& range : ranges.empty() ? std::vector{Range{first, last}} : ranges)
    if (range.first <= last && range.last >= first)
      inside.ranges.push_back({std::max(range.first, first), std::min(range.last, last)});
  if (inside.ranges.empty())
    throw Error(fmt::format("of the layers {}, none is among the blocks to enhance, {} to {}", str(), first, last));
  return inside;
}

namespace {

const std::vector<std::pair<Dtype, std::string>>& dtype_names() {
  static const std::vector<std::pair<Dtype, std::string>> names{{Dtype::automatic, "auto"},
                                                                {Dtype::float32, "float32"},
                                                                {Dtype::bfloat16, "bfloat16"},
                                                                {Dtype::float16, "float16"}};
  return names;
}

// Calls field(name, member) for each field of a request that is an option.
template <class R, class Field>
void each_field(R& request, Field field) {
  field("prompt", request.prompt);
  field("negative_prompt", request.negative_prompt);
  field("seed", request.seed);
  field("width", request.width);
  field("height", request.height);
  field("frames", request.frames);
  field("fps", request.fps);
  field("steps", request.steps);
  field("guidance", request.guidance);
  field("scheduler", request.scheduler);
  field("latents_only", request.latents_only);
  field("init_latents", request.init_latents);
  field("enhance", request.enhance.enabled);
  field("enhance_weight", request.enhance.weight);
  field("enhance_start", request.enhance.start);
  field("enhance_end", request.enhance.end);
  field("enhance_layers", request.enhance.layers);
  field("enhance_maps", request.enhance.maps);
}

// Between a field and a value.
template <class T>
void assign(T& field, const Value& value) {
  field = std::get<T>(value);
}
void assign(double& field, const Value& value) {
  const auto* whole = std::get_if<int64_t>(&value);
  field = whole ? static_cast<double>(*whole) : std::get<double>(value);
}
void assign(std::filesystem::path& field, const Value& value) { field = std::get<std::string>(value); }
void assign(LayerSet& field, const Value& value) { field = LayerSet::parse(std::get<std::string>(value)); }
template <class T>
void assign(std::optional<T>& field, const Value& value) {
  T given{};
  assign(given, value);
  field = std::move(given);
}

std::optional<Value> value_of(const std::filesystem::path& field) { return Value(field.string()); }
std::optional<Value> value_of(const LayerSet& field) { return Value(field.str()); }
template <class T>
std::optional<Value> value_of(const T& field) {
  return Value(field);
}
template <class T>
std::optional<Value> value_of(const std::optional<T>& field) {
  return field ? std::optional<Value>(*field) : std::nullopt;
}

}  // namespace

void Request::set(const std::string& name, const Value& value) {
  if (name == "enhance_weight") {
    const auto* word = std::get_if<std::string>(&value);
    enhance.adaptive = word != nullptr && *word == "auto";
    if (enhance.adaptive) return;
  }
  bool found = false;
  try {
    each_field(*this, [&](const char* field_name, auto& field) {
      if (name != field_name) return;
      found = true;
      assign(field, value);
    });
  } catch (const std::bad_variant_access&) {
    throw Error(name, fmt::format("{} cannot be '{}'", name, to_string(value)));
  }
  if (!found) settings[name] = value;
}

void Request::unset(const std::string& name) {
  auto left = asked();
  left.erase(name);
  *this = {};
  for (const auto& [option, value] : left) set(option, value);
}

Settings Request::asked() const {
  auto asked = settings;
  Settings standard;
  const Request unchanged;
  each_field(unchanged, [&](const char* name, const auto& field) {
    if (const auto value = value_of(field)) standard[name] = *value;
  });
  each_field(*this, [&](const char* name, const auto& field) {
    const auto value = value_of(field);
    const auto same = standard.find(name);
    if (value && (same == standard.end() || same->second != *value)) asked[name] = *value;
  });
  if (enhance.adaptive) asked["enhance_weight"] = "auto";
  return asked;
}

Dtype parse_dtype(const std::string& name) {
  std::vector<std::string> known;
  for (const auto& [dtype, known_name] : dtype_names()) {
    if (known_name == name) return dtype;
    known.push_back(known_name);
  }
  throw Error("dtype", fmt::format("the type \"{}\" is unknown: choose one of {}", name, fmt::join(known, ", ")));
}

std::string to_string(Dtype dtype) {
  return std::ranges::find(dtype_names(), dtype, &std::pair<Dtype, std::string>::first)->second;
}

Quantize parse_quantize(const std::string& name) {
  for (const auto quantize : {Quantize::none, Quantize::int8})
    if (to_string(quantize) == name) return quantize;
  throw Error("quantize", fmt::format("the quantisation \"{}\" is unknown: choose none or int8", name));
}

std::string to_string(Quantize quantize) { return quantize == Quantize::int8 ? "int8" : "none"; }

namespace {

// "bfloat16,vae=float32" of what all parts have and what some have of their own.
template <class T>
std::string in_one_word(T of_all, const std::map<std::string, T>& of_parts) {
  auto text = to_string(of_all);
  for (const auto& [part, own] : of_parts) text += fmt::format(",{}={}", part, to_string(own));
  return text;
}

// Calls for_all(value) for such a text, then for_part(name, value) for each part; `like` is an example of one.
void read_word(const std::string& option, const std::string& text, const char* like,
               const std::function<void(const std::string&)>& for_all,
               const std::function<void(const std::string&, const std::string&)>& for_part) {
  auto comma = std::min(text.find(','), text.size());
  for_all(text.substr(0, comma));
  while (comma < text.size()) {
    const auto next = std::min(text.find(',', comma + 1), text.size());
    const auto of_part = text.substr(comma + 1, next - comma - 1);
    const auto equals = of_part.find('=');
    if (equals == std::string::npos)
      throw Error(option, fmt::format("\"{}\" is no type of a part, such as {}", of_part, like));
    for_part(of_part.substr(0, equals), of_part.substr(equals + 1));
    comma = next;
  }
}

}  // namespace

std::string dtypes_of(const Runtime& runtime) { return in_one_word(runtime.dtype, runtime.part_dtypes); }

void set_dtypes(Runtime& runtime, const std::string& text) {
  runtime.part_dtypes.clear();
  read_word(
      "dtype", text, "vae=float32", [&](const std::string& name) { runtime.dtype = parse_dtype(name); },
      [&](const std::string& part, const std::string& name) {
        const auto dtype = parse_dtype(name);
        if (dtype == Dtype::automatic)
          throw Error("dtype", fmt::format("\"{}={}\": a part takes float32, bfloat16 or float16", part, name));
        runtime.part_dtypes[part] = dtype;
      });
}

std::string quantize_of(const Runtime& runtime) { return in_one_word(runtime.quantize, runtime.part_quantize); }

void set_quantize(Runtime& runtime, const std::string& text) {
  runtime.part_quantize.clear();
  read_word(
      "quantize", text, "text_encoder=none", [&](const std::string& name) { runtime.quantize = parse_quantize(name); },
      [&](const std::string& part, const std::string& name) { runtime.part_quantize[part] = parse_quantize(name); });
}

}  // namespace eav
