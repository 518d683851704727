#include "models/clip_image.h"

#include <fmt/format.h>

#include <algorithm>

#include "video/resize.h"
#include "weights/limits.h"

namespace eav {
namespace {

// Pillow's numbers of filters.
constexpr int64_t kLanczos = 1, kBicubic = 3;

constexpr int64_t kLongestSide = 8192;  // in pixels; released models see 224 to 384

std::array<double, 3> colours(const JsonFile& json, const std::string& field, std::vector<double> fallback) {
  const auto values = json.get<std::vector<double>>(field, std::move(fallback));
  if (values.size() != 3)
    throw Error(fmt::format("{}: \"{}\" has {} numbers, expected 3", json.path().string(), field, values.size()));
  return {values[0], values[1], values[2]};
}

// The middle of a picture [H, W, 3] along one axis; where it is shorter, zeros surround it.
at::Tensor middle(const at::Tensor& picture, int64_t axis, int64_t length) {
  const auto have = picture.size(axis);
  if (have >= length) return picture.narrow(axis, (have - length) / 2, length);
  auto shape = picture.sizes().vec();
  shape[axis] = length;
  const auto padded = at::zeros(shape, picture.options());
  // The reference pads by half of what is missing, rounded up, and cuts nothing off then.
  padded.narrow(axis, (length - have + 1) / 2, have).copy_(picture);
  return padded;
}

}  // namespace

ClipImageProcessor::ClipImageProcessor(const JsonFile& json)
    : resizes(json.get<bool>("do_resize", true)),
      crops(json.get<bool>("do_center_crop", true)),
      rescales(json.get<bool>("do_rescale", true)),
      normalizes(json.get<bool>("do_normalize", true)),
      rescale_factor(json.get<double>("rescale_factor", 1.0 / 255)),
      mean(colours(json, "image_mean", {0.48145466, 0.4578275, 0.40821073})),
      std(colours(json, "image_std", {0.26862954, 0.26130258, 0.27577711})) {
  const auto sides = [&](const std::string& field) {  // older files have one number
    if (!json.has(field)) return JsonFile(json.path(), {{"shortest_edge", 224}, {"height", 224}, {"width", 224}});
    const auto& value = json.json().at(field);
    if (value.is_number_integer())
      return JsonFile(json.path(), {{"shortest_edge", value}, {"height", value}, {"width", value}});
    return JsonFile(json.path(), value);
  };
  const auto size = sides("size"), crop_size = sides("crop_size");
  if (size.has("longest_edge") || size.has("max_height"))
    throw Error(
        fmt::format("{}: \"size\" limits the longer side; supported are \"shortest_edge\", and \"height\" and "
                    "\"width\"",
                    json.path().string()));
  if (size.has("shortest_edge")) shortest_edge = count_up_to(kLongestSide, size, "shortest_edge");
  height = shortest_edge ? 0 : count_up_to(kLongestSide, size, "height");
  width = shortest_edge ? 0 : count_up_to(kLongestSide, size, "width");
  crop_height = count_up_to(kLongestSide, crop_size, "height");
  crop_width = count_up_to(kLongestSide, crop_size, "width");
  const auto filter = json.get<int64_t>("resample", kBicubic);
  lanczos = filter == kLanczos;
  if (filter != kBicubic && filter != kLanczos)
    throw Error(fmt::format("{}: \"resample\" is {}; supported are {} (bicubic) and {} (Lanczos)", json.path().string(),
                            filter, kBicubic, kLanczos));
}

at::Tensor ClipImageProcessor::operator()(const at::Tensor& picture) const {
  auto x = picture;
  if (resizes) {
    auto to_height = height, to_width = width;
    if (shortest_edge) {
      const auto shorter = std::min(x.size(0), x.size(1)), longer = std::max(x.size(0), x.size(1));
      const auto other =
          static_cast<int64_t>(static_cast<double>(*shortest_edge * longer) / static_cast<double>(shorter));
      to_height = x.size(0) <= x.size(1) ? *shortest_edge : other;
      to_width = x.size(0) <= x.size(1) ? other : *shortest_edge;
    }
    x = resize(x.unsqueeze(0), to_height, to_width, lanczos ? Filter::lanczos : Filter::bicubic)[0];
  }
  if (crops) x = middle(middle(x, 0, crop_height), 1, crop_width);
  auto values = x.permute({2, 0, 1}).unsqueeze(0).to(at::kDouble);  // [1, 3, H, W]
  if (rescales) values = values * rescale_factor;
  const auto of_colours = [&](const std::array<double, 3>& v) {
    return at::tensor(v, at::kDouble).view({1, 3, 1, 1}).to(values.device());
  };
  if (normalizes) values = (values - of_colours(mean)) / of_colours(std);
  return values.to(at::kFloat).contiguous();
}

}  // namespace eav
