// Small pictures of a video that is being denoised.
#pragma once
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>

namespace [[gnu::visibility("default")]] eav {

struct Preview {
  // Gets the clean video that a step predicts: a picture for each latent frame, of the latents' size, [F, h, w, 3]
  // uint8, RGB. What it throws ends the run.
  std::function<void(const at::Tensor& pictures)> show = {};
  // Seconds between two, which together take no more than 1 % of the time; 0: after each step.
  double every = 2;
  // The folder in which the colours of latents are kept, which are measured on the VAE once; empty: in none.
  std::filesystem::path cache = {};
};

}  // namespace eav
