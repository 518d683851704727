#include "models/ltx_video/latent_upsampler.h"

#include <fmt/format.h>

#include <iterator>
#include <utility>

#include "vae/norm.h"
#include "vae/resnet.h"
#include "weights/limits.h"

namespace eav::ltx_video {
namespace {

constexpr int64_t kGroups = 32;  // of channels, in every norm
constexpr double kGroupNormEps = 1e-5;

// A 3x3 or 3x3x3 convolution, with zeros around the frames and, over time, before and after them.
Conv3d padded_conv(const Weights& w, int64_t in, int64_t out, bool over_time) {
  if (!over_time) return Conv3d::of_pictures(w, in, out);
  return {
      w, in, out, {.past = 1, .future = 1, .border = Border::kZero, .before = Border::kZero, .after = Border::kZero}};
}

GroupNorm group_norm(const Weights& w, const UpsamplerConfig& c) { return {w, c.mid_channels, kGroups, kGroupNormEps}; }

std::vector<UpsamplerBlock> upsampler_blocks(const Weights& w, const UpsamplerConfig& c) {
  std::vector<UpsamplerBlock> blocks;
  for (int64_t i = 0; i < c.num_blocks_per_stage; ++i) blocks.emplace_back(w / i, c);
  return blocks;
}

Frames convolve_frames(const Frames& x, const Conv3d& conv, Pass& pass) {
  return conv(std::ssize(x), positions_of(x[0]), [&](int64_t t) { return x[t]; }, pass);
}

}  // namespace

UpsamplerConfig UpsamplerConfig::read(const JsonFile& config) {
  const auto fail = [&](const std::string& what) { return Error(config.path().string() + ": " + what); };
  const auto dims = config.count("dims", 3);
  UpsamplerConfig c{
      .in_channels = config.count("in_channels", 128),
      .mid_channels = config.count("mid_channels", 512),
      .num_blocks_per_stage = count_layers(config, "num_blocks_per_stage", 4),
      .over_time = dims == 3,
      .spatial_upsample = config.get<bool>("spatial_upsample", true),
      .temporal_upsample = config.get<bool>("temporal_upsample", false),
  };
  if (dims != 2 && dims != 3) throw fail(fmt::format("\"dims\" is {}, expected 2 or 3", dims));
  if (c.mid_channels % kGroups != 0)
    throw fail(fmt::format("\"mid_channels\" is {}, expected a multiple of {}", c.mid_channels, kGroups));
  if (!c.spatial_upsample && !c.temporal_upsample)
    throw fail("\"spatial_upsample\" and \"temporal_upsample\" are both false: expected one of them, or both");
  if (c.temporal_upsample && !c.over_time) throw fail("\"dims\" is 2, but \"temporal_upsample\" needs 3");
  return c;
}

UpsamplerBlock::UpsamplerBlock(const Weights& w, const UpsamplerConfig& c)
    : conv1(padded_conv(w / "conv1", c.mid_channels, c.mid_channels, c.over_time)),
      conv2(padded_conv(w / "conv2", c.mid_channels, c.mid_channels, c.over_time)),
      norm1(group_norm(w / "norm1", c)),
      norm2(group_norm(w / "norm2", c)) {}

Frames UpsamplerBlock::operator()(Frames x, Pass& pass) const {
  auto h = convolve_frames(x, conv1, pass);
  const auto silu1 = GroupNormSilu{norm1}(h);
  h = convolve_normed(std::move(h), silu1, conv2, pass);
  const auto affine = norm2(h);
  const auto type = h[0].scalar_type();
  const auto scale = affine.first.to(type), shift = affine.second.to(type);  // [C]
  for (size_t t = 0; t < x.size(); ++t) {
    auto frame = std::move(h[t]);  // [H, W, C]
    at::addcmul_out(frame, shift, frame, scale);
    frame.add_(x[t]);
    x[t] = at::silu_(frame);
  }
  return x;
}

LatentUpsampler::LatentUpsampler(const Weights& w, const UpsamplerConfig& c)
    : config_(c),
      initial_conv_(padded_conv(w / "initial_conv", c.in_channels, c.mid_channels, c.over_time)),
      initial_norm_(group_norm(w / "initial_norm", c)),
      res_blocks_(upsampler_blocks(w / "res_blocks", c)),
      upsampler_(padded_conv(w / "upsampler" / 0, c.mid_channels,
                             c.mid_channels * (c.spatial_upsample ? 4 : 1) * (c.temporal_upsample ? 2 : 1),
                             c.temporal_upsample)),
      post_upsample_res_blocks_(upsampler_blocks(w / "post_upsample_res_blocks", c)),
      final_conv_(padded_conv(w / "final_conv", c.mid_channels, c.in_channels, c.over_time)) {}

Frames LatentUpsampler::upsample(Frames x, Pass& pass) const {
  x = convolve_frames(x, initial_conv_, pass);
  const auto silu = GroupNormSilu{initial_norm_}(x);
  for (size_t t = 0; t < x.size(); ++t) silu(static_cast<int64_t>(t), x[t], x[t]);
  x = run_all(res_blocks_, std::move(x), pass);

  const int64_t time = config_.temporal_upsample ? 2 : 1, space = config_.spatial_upsample ? 2 : 1;
  Frames larger;
  for (const auto& frame : convolve_frames(x, upsampler_, pass))
    for (const auto& positions : channels_to_positions(frame, time, space))  // [h, space, w, space, C]
      larger.push_back(positions.flatten(2, 3).flatten(0, 1).contiguous());
  if (config_.temporal_upsample) larger.erase(larger.begin());  // the first frame stands for one frame of the video
  x = run_all(post_upsample_res_blocks_, std::move(larger), pass);
  return convolve_frames(x, final_conv_, pass);
}

Tensor LatentUpsampler::operator()(const Tensor& latents, const Progress& progress) const {
  Pass pass{.progress = progress};
  auto frames = latents[0].permute({1, 2, 3, 0}).contiguous().unbind();  // [h, w, C] each
  Frames larger;
  if (config_.over_time)
    larger = upsample(std::move(frames), pass);
  else
    for (const auto& frame : frames) larger.push_back(upsample({frame}, pass)[0]);
  return joined(larger).permute({3, 0, 1, 2}).unsqueeze(0).contiguous();
}

Tensor adain(const Tensor& latents, const Tensor& reference, double factor) {
  const auto values = reference.size(2) * reference.size(3) * reference.size(4);  // of a channel
  if (factor == 0 || values == 1) return latents;
  if (latents.is_meta()) return at::empty_like(latents);
  const auto moments = [](const Tensor& x) {
    return at::std_mean(x, at::IntArrayRef{2, 3, 4}, /*unbiased=*/true, /*keepdim=*/true);
  };
  const auto [spread, mean] = moments(latents);
  const auto [wanted_spread, wanted_mean] = moments(reference);
  return at::lerp(latents, (latents - mean) / spread * wanted_spread + wanted_mean, factor);
}

Tensor tone_mapped(const Tensor& latents, double compression) {
  if (compression == 0) return latents;
  if (latents.is_meta()) return at::empty_like(latents);
  const double scale = 0.75 * compression;
  return latents * (1 - 0.8 * scale * at::sigmoid(4 * scale * (latents.abs() - 1)));
}

}  // namespace eav::ltx_video
