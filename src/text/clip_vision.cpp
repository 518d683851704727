#include "text/clip_vision.h"

#include <fmt/format.h>

#include <utility>

#include "eav/error.h"

namespace eav {
namespace {

constexpr int64_t kColours = 3;

}  // namespace

ClipVisionConfig::ClipVisionConfig(const JsonFile& json)
    : ClipBlockConfig(json, /*causal=*/false),
      image_size(json.count("image_size")),
      patch_size(json.count("patch_size")) {
  if (const auto colours = json.count("num_channels", kColours); colours != kColours)
    throw Error(fmt::format("{}: \"num_channels\" is {}, expected {}", json.path().string(), colours, kColours));
  if (patch_size > image_size)
    throw Error(fmt::format("{}: a patch of {} pixels is larger than the picture of {}", json.path().string(),
                            patch_size, image_size));
}

ClipVisionTower::ClipVisionTower(const Weights& w, const ClipVisionConfig& c, int64_t layers)
    : patch_size(c.patch_size),
      image_size(c.image_size),
      class_embedding((w / "embeddings").load("class_embedding", {c.channels})),
      patch_embedding(
          Linear::of_patches(w / "embeddings" / "patch_embedding", {c.channels, kColours, c.patch_size, c.patch_size})),
      position_embedding(w / "embeddings" / "position_embedding", 1 + c.patches(), c.channels),
      pre_layrnorm(w / "pre_layrnorm", c.channels, c.norm_eps) {
  for (int64_t i = 0; i < layers; ++i) blocks.emplace_back(w.quantised() / "encoder" / "layers" / i, c);
}

std::vector<UnneededKey> ClipVisionTower::unneeded_keys(const ClipVisionConfig& c, int64_t layers,
                                                        const std::string& prefix) {
  std::vector<UnneededKey> keys{{prefix + "embeddings.position_ids", "0, 1, 2 and on"},
                                {prefix + "post_layernorm.*", "belongs behind the last layer"}};
  for (auto i = layers; i < c.layers; ++i)
    keys.push_back({fmt::format("{}encoder.layers.{}.*", prefix, i), "the picture is taken from a layer before it"});
  return keys;
}

Part<ClipVisionTower> ClipVisionTower::part(const PartSource& source) {
  const std::string released = "vision_model";  // transformers 5 saves without this prefix
  const ClipVisionConfig config{source.config};
  const auto layers = config.layers - 1;
  auto unneeded = unneeded_keys(config, layers, "");
  for (auto& key : unneeded_keys(config, layers, released + ".")) unneeded.push_back(std::move(key));
  unneeded.push_back({"visual_projection.weight", "the picture is taken from a layer before it"});
  return {source, {std::move(unneeded), {}, /*float32=*/true}, [=](const Weights& root) {
            const bool prefixed = (root / released / "embeddings").has("class_embedding");
            return ClipVisionTower(prefixed ? root / released : root, config, layers);
          }};
}

Tensor ClipVisionTower::operator()(const Tensor& pixels, const Progress& progress) const {
  const auto rows = image_size / patch_size;
  const auto patches = pixels.slice(2, 0, rows * patch_size)
                           .slice(3, 0, rows * patch_size)
                           .unflatten(3, {rows, patch_size})
                           .unflatten(2, {rows, patch_size})  // [B, 3, rows, p, rows, p]
                           .permute({0, 2, 4, 1, 3, 5})
                           .flatten(3)
                           .flatten(1, 2);  // [B, patches, 3*p*p]
  const auto first = class_embedding.to(pixels.scalar_type()).expand({pixels.size(0), 1, -1});
  auto x = at::cat({first, patch_embedding(patches)}, 1) + position_embedding.dense(pixels.scalar_type());
  x = pre_layrnorm(x);
  for (const auto& block : blocks) {
    progress.check();
    x = block(std::move(x));
  }
  return x;
}

}  // namespace eav
