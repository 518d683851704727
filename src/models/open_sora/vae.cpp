#include "models/open_sora/vae.h"

#include <algorithm>

namespace eav::open_sora {
namespace {

// A buffer that the weights hold, else the configuration's numbers.
Tensor numbers(const Weights& w, const std::string& name, const std::vector<double>& fallback) {
  if (w.has(name)) return w.load(name).to(at::kFloat).flatten();
  return at::tensor(fallback, at::kFloat);
}

}  // namespace

LatentScale::LatentScale(const Weights& w, const VaeConfig& c)
    : shift(numbers(w, "shift", c.shift)), scale(numbers(w, "scale", c.scale)) {}

Vae::Vae(const Weights& w, const VaeConfig& c)
    : config_(c),
      latent_scale_(w, c),
      temporal_(w / "temporal_vae", c.temporal),
      spatial_(w / "spatial_vae" / "module", c.spatial) {}

std::vector<UnneededKey> Vae::unneeded_keys() {
  return {{"spatial_vae.module.encoder.*", "decoding needs no encoder"},
          {"spatial_vae.module.quant_conv.*", "it follows the encoder"},
          {"temporal_vae.encoder.*", "decoding needs no encoder"},
          {"temporal_vae.quant_conv.*", "it follows the encoder"}};
}

Tensor Vae::decode(const Tensor& latents, int64_t frames, Progress& progress) const {
  const auto z = latents[0].permute({1, 2, 3, 0}).contiguous();  // [F, h, w, C]
  const auto encodings = z * latent_scale_.scale.to(z.options()) + latent_scale_.shift.to(z.options());
  const auto batch = config_.batch_frames(frames), batch_latents = config_.batch_latents(frames);
  std::vector<Tensor> pictures;  // latents of the frames, [frames, h, w, C] each
  for (int64_t first = 0, left = frames; left > 0; first += batch_latents, left -= batch)
    pictures.push_back(temporal_(encodings.slice(0, first, first + batch_latents), std::min(batch, left), progress));

  Tensor video;  // [1, 3, frames, H, W]
  int64_t done = 0;
  for (const auto& picture : at::cat(pictures).unbind()) {
    const auto frame = spatial_(picture, progress).permute({2, 0, 1});
    if (!video.defined()) video = at::empty({1, frame.size(0), frames, frame.size(1), frame.size(2)}, frame.options());
    video[0].select(1, done).copy_(frame);
    progress.step(++done, frames);
  }
  return video;
}

VaeEncoder::VaeEncoder(const Weights& w, const VaeConfig& c)
    : config_(c),
      latent_scale_(w, c),
      spatial_(w / "spatial_vae" / "module", c.spatial),
      temporal_(w / "temporal_vae", c.temporal) {}

std::vector<UnneededKey> VaeEncoder::unneeded_keys() {
  return {{"spatial_vae.module.decoder.*", "encoding needs no decoder"},
          {"spatial_vae.module.post_quant_conv.*", "it precedes the decoder"},
          {"temporal_vae.decoder.*", "encoding needs no decoder"},
          {"temporal_vae.post_quant_conv.*", "it precedes the decoder"}};
}

Tensor VaeEncoder::operator()(const Tensor& video, const Progress& progress) const {
  std::vector<Tensor> pictures, parts;
  for (const auto& frame : video[0].unbind(1))
    pictures.push_back(spatial_(frame.permute({1, 2, 0}).contiguous(), progress));
  for (const auto& part : at::stack(pictures).split(config_.batch_frames(video.size(2))))
    parts.push_back(temporal_(part, progress));
  const auto encodings = at::cat(parts);  // [F, h, w, C]
  const auto z =
      (encodings - latent_scale_.shift.to(encodings.options())) / latent_scale_.scale.to(encodings.options());
  return z.permute({3, 0, 1, 2}).unsqueeze(0).contiguous();
}

}  // namespace eav::open_sora
