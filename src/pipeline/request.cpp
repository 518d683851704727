// Reading and writing the small values of a request.
#include "eav/request.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "eav/error.h"

namespace eav {

LayerSet LayerSet::parse(const std::string& text) {
  const auto fail = [&] {
    return Error(fmt::format("\"{}\" is no list of layers: write numbers and ranges such as 0-5,8", text));
  };
  LayerSet layers;
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

Dtype parse_dtype(const std::string& name) {
  for (const auto dtype : {Dtype::automatic, Dtype::float32, Dtype::bfloat16, Dtype::float16})
    if (name == to_string(dtype)) return dtype;
  throw Error(fmt::format("the type \"{}\" is unknown: choose auto, float32, bfloat16 or float16", name));
}

std::string to_string(Dtype dtype) {
  switch (dtype) {
    case Dtype::float32:
      return "float32";
    case Dtype::bfloat16:
      return "bfloat16";
    case Dtype::float16:
      return "float16";
    case Dtype::automatic:
      break;
  }
  return "auto";
}

}  // namespace eav
