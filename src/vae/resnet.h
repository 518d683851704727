// Residual blocks of autoencoders, with whatever norm a family has, and the levels that they form.
#pragma once
#include <ATen/ATen.h>

#include <functional>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include "nn/conv.h"
#include "vae/conv.h"
#include "vae/norm.h"

namespace eav {

// conv(silu(x)), in the memory of x, with what its norm knows of it.
Frames convolve_normed(Frames x, const NormedSilu& silu, const Conv3d& conv, Pass& pass);

// shortcut(x) + conv2(silu(norm2(conv1(silu(norm1(x)))))); a shortcut, where the number of channels changes, maps each
// position.
struct Residual {
  using Norm = std::function<NormedSilu(const Frames& x)>;
  Norm norm1;
  const Conv3d& conv1;
  Norm norm2;
  const Conv3d& conv2;
  std::function<Tensor(const Tensor& x)> shortcut;

  Frames operator()(Frames x, Pass& pass) const;
};

// A `Norm` makes silu(norm(x)) of a video and of what else it is told: see GroupNormSilu.
template <class Norm>
struct NormedConv {
  Norm norm;
  Conv3d conv;

  Frames operator()(Frames x, Pass& pass, const auto&... told) const {
    const auto silu = norm(x, told...);
    return convolve_normed(std::move(x), silu, conv, pass);
  }
};

template <class Norm>
struct ResnetBlock {
  NormedConv<Norm> conv1, conv2;
  std::optional<PointwiseConv> conv_shortcut;  // where the number of channels changes

  Frames operator()(Frames x, Pass& pass, const auto&... told) const {
    Residual residual{.norm1 = [&](const Frames& frames) { return conv1.norm(frames, told...); },
                      .conv1 = conv1.conv,
                      .norm2 = [&](const Frames& frames) { return conv2.norm(frames, told...); },
                      .conv2 = conv2.conv,
                      .shortcut = {}};
    if (conv_shortcut) residual.shortcut = std::cref(*conv_shortcut);
    return residual(std::move(x), pass);
  }
};

// `count` blocks in a row, of which `read` reads each from its weights and numbers of channels.
auto read_resnets(const Weights& w, int64_t count, int64_t in, int64_t out, const auto& read) {
  std::vector<decltype(read(w, in, out))> blocks;
  for (int64_t i = 0; i < count; ++i) blocks.push_back(read(w / i, i == 0 ? in : out, out));
  return blocks;
}

// One after the other.
Frames run_all(const auto& layers, Frames x, Pass& pass, const auto&... told) {
  for (const auto& layer : layers) {
    pass.progress.check();
    x = layer(std::move(x), pass, told...);
  }
  return x;
}

// Residual blocks of one resolution, and what leads to the next.
template <class Resnet, class Resample>
struct Level {
  std::vector<Resnet> resnets;
  std::optional<Resample> resample;

  Frames operator()(Frames x, Pass& pass, const auto&... told) const {
    x = run_all(resnets, std::move(x), pass, told...);
    pass.progress.check();
    return resample ? (*resample)(std::move(x), pass) : std::move(x);
  }
};

}  // namespace eav
