// Reading and writing the small values of a request.
#include "eav/request.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <utility>

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

// The values of an enumeration by name, in the order in which messages list them.
template <class T>
using Names = std::vector<std::pair<T, std::string>>;

const Names<Dtype>& names(Dtype) {
  static const Names<Dtype> all{{Dtype::automatic, "auto"},
                                {Dtype::float32, "float32"},
                                {Dtype::bfloat16, "bfloat16"},
                                {Dtype::float16, "float16"}};
  return all;
}
const Names<VaeTiling>& names(VaeTiling) {
  static const Names<VaeTiling> all{{VaeTiling::automatic, "auto"}, {VaeTiling::on, "on"}, {VaeTiling::off, "off"}};
  return all;
}
const Names<EnhanceBlocks>& names(EnhanceBlocks) {
  static const Names<EnhanceBlocks> all{
      {EnhanceBlocks::all, "all"}, {EnhanceBlocks::dual, "double"}, {EnhanceBlocks::single, "single"}};
  return all;
}
const Names<ImageFit>& names(ImageFit) {
  static const Names<ImageFit> all{{ImageFit::stretch, "stretch"}, {ImageFit::crop, "crop"}};
  return all;
}

template <class T>
T parse(const std::string& what, const std::string& wanted) {
  std::vector<std::string> known;
  for (const auto& [value, name] : names(T{})) {
    if (name == wanted) return value;
    known.push_back(name);
  }
  throw Error(fmt::format("the {} \"{}\" is unknown: choose one of {}", what, wanted, fmt::join(known, ", ")));
}

template <class T>
std::string name_of(T value) {
  return std::ranges::find(names(value), value, &std::pair<T, std::string>::first)->second;
}

}  // namespace

Dtype parse_dtype(const std::string& name) { return parse<Dtype>("type", name); }
std::string to_string(Dtype dtype) { return name_of(dtype); }

VaeTiling parse_vae_tiling(const std::string& name) { return parse<VaeTiling>("tiling", name); }
std::string to_string(VaeTiling tiling) { return name_of(tiling); }

EnhanceBlocks parse_enhance_blocks(const std::string& name) { return parse<EnhanceBlocks>("kind of blocks", name); }
std::string to_string(EnhanceBlocks blocks) { return name_of(blocks); }

ImageFit parse_image_fit(const std::string& name) { return parse<ImageFit>("fit", name); }
std::string to_string(ImageFit fit) { return name_of(fit); }

}  // namespace eav
