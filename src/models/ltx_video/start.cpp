#include "models/ltx_video/start.h"

#include <algorithm>

#include "nn/planned.h"

namespace eav::ltx_video {
namespace {

// Latent frames of a clip at another frame than the first that lie before the video's tokens; those after them are
// blended into the video.
constexpr int64_t kPrefixFrames = 2;

// Tokens at these frames (a coordinate for each latent frame) and everywhere in a frame: [L, 3].
Tensor positions(const Tensor& frames, const LatentSize& size) {
  const auto options = at::TensorOptions(at::kFloat);
  const auto axis = [&](int64_t n) { return at::arange(n, options) * static_cast<double>(size.pixel_ratio); };
  const auto grid = at::meshgrid({frames, axis(size.height), axis(size.width)}, "ij");
  return at::stack({grid[0].flatten(), grid[1].flatten(), grid[2].flatten()}, 1);
}

// As LTXConditionPipeline counts: the first latent frame stands for a single frame of the video, at `first`.
Tensor clip_positions(int64_t latent_frames, int64_t first, const LatentSize& size) {
  const auto frames = (at::arange(latent_frames, at::kLong) * size.frame_ratio + 1 - size.frame_ratio).clamp_min(0);
  return positions((frames + first).to(at::kFloat) * (1 / size.fps), size);
}

Tensor sample(const EncodedCondition& condition, at::Generator& generator) {
  const auto noise = draw_noise(condition.mean.sizes(), generator, condition.mean.options());
  return (condition.mean + condition.std * noise).to(at::kFloat);
}

}  // namespace

void Start::add_run(int64_t count, double strength) {
  if (count == 0) return;
  tokens.push_back(count);
  strengths.push_back(strength);
}

Tensor pack(const Tensor& latents) { return latents.flatten(2).transpose(1, 2).contiguous(); }

Tensor unpack(const Tensor& tokens, const LatentSize& size) {
  return tokens.transpose(1, 2).reshape({1, size.channels, size.frames, size.height, size.width});
}

Start start_from_latents(const Tensor& latents, const LatentSize& size, int64_t kept_frames) {
  const double seconds = static_cast<double>(size.frame_ratio) / size.fps;
  Start start{.latents = latents,
              .positions = positions(at::arange(size.frames, at::TensorOptions(at::kFloat)) * seconds, size)};
  start.add_run(kept_frames * size.height * size.width, 1);
  start.add_run((size.frames - kept_frames) * size.height * size.width, 0);
  return start;
}

Start start_from_image(const EncodedCondition& image, const LatentSize& size, at::Generator& generator) {
  const auto first = sample(image, generator);
  const auto latents = draw_noise({1, size.channels, size.frames, size.height, size.width}, generator, first.options());
  latents.narrow(2, 0, 1).copy_(first);
  return start_from_latents(pack(latents), size, /*kept_frames=*/1);
}

Start start_from_conditions(Tensor latents, const std::vector<EncodedCondition>& conditions, const LatentSize& size,
                            at::Generator& generator) {
  latents = latents.clone();
  const auto frame = size.height * size.width;
  Start start;
  std::vector<double> kept(static_cast<size_t>(size.frames), 0);  // strength of each latent frame
  const auto blend = [&](const Tensor& clip, int64_t first, double strength) {
    const auto frames = latents.narrow(2, first, clip.size(2));
    frames.copy_(at::lerp(frames, clip, strength));
    std::fill_n(kept.begin() + first, clip.size(2), strength);
  };
  std::vector<Tensor> tokens, places;
  for (const auto& condition : conditions) {
    auto clip = sample(condition, generator);
    const auto frames = clip.size(2);
    if (condition.frame_index == 0) {
      blend(clip, 0, condition.strength);
      continue;
    }
    if (frames > kPrefixFrames)
      blend(clip.slice(2, kPrefixFrames), condition.frame_index / size.frame_ratio + kPrefixFrames, condition.strength);
    clip = clip.slice(2, 0, kPrefixFrames);
    clip = at::lerp(draw_noise(clip.sizes(), generator, clip.options()), clip, condition.strength);
    tokens.push_back(pack(clip));
    places.push_back(clip_positions(clip.size(2), condition.frame_index, size));
    start.add_run(clip.size(2) * frame, condition.strength);
    start.conditions += clip.size(2) * frame;
  }
  tokens.push_back(pack(latents));
  places.push_back(clip_positions(size.frames, 0, size));
  start.latents = at::cat(tokens, 1);
  start.positions = at::cat(places);
  int64_t first = 0;
  for (size_t t = 1; t <= kept.size(); ++t)
    if (t == kept.size() || kept[t] != kept[t - 1]) {
      start.add_run((static_cast<int64_t>(t) - first) * frame, kept[t - 1]);
      first = static_cast<int64_t>(t);
    }
  return start;
}

}  // namespace eav::ltx_video
