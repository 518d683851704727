// The colours of latents: a linear map to RGB, fitted to what a decoder makes of them; and when they are shown.
#pragma once
#include <ATen/ATen.h>

#include <chrono>

#include "eav/preview.h"
#include "eav/progress.h"
#include "models/job.h"

namespace eav {

class LatentColors {
 public:
  explicit LatentColors(Tensor map) : map_(std::move(map)) {}

  // Fitted by least squares to `pictures` [N, 3], of latents [N, C].
  static LatentColors fit(const Tensor& latents, const Tensor& pictures);

  // latents [1, C, F, h, w] -> [F, h, w, 3] uint8 on the CPU
  Tensor operator()(const Tensor& latents) const;
  const Tensor& map() const { return map_; }

 private:
  Tensor map_;  // [C + 1, 3] float32, of which the last row is added to all
};

// The mean of what each latent stands for in the video [1, 3, T, H, W] of latents [1, C, F, h, w]: [F, h, w, 3]. The
// first frame stands for fewer frames than the others where T / F is no whole number.
Tensor shrink(const Tensor& video, at::IntArrayRef latents);

// Of the VAE of a job: kept ones where `cache` has them, else fitted on smooth random latents, which it decodes.
LatentColors colors_of(VideoJob& job, const std::filesystem::path& cache, const Progress& progress);

// Shows the video when it is time.
class Previewer {
 public:
  Previewer(Preview preview, LatentColors colors) : preview_(std::move(preview)), colors_(std::move(colors)) {}

  void operator()(const std::function<Tensor()>& denoised);

 private:
  using Clock = std::chrono::steady_clock;

  Preview preview_;
  LatentColors colors_;
  std::optional<Clock::time_point> last_;  // time it was shown
  std::chrono::duration<double> took_{};
};

}  // namespace eav
