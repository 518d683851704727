// Norms, residual blocks and attention against plain formulas in float64.
#include "vae/resnet.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "compare.h"
#include "vae/attention.h"
#include "weights/safetensors.h"

namespace eav {
namespace {

constexpr double kBlockTolerance = 3e-6;
constexpr int64_t kFrames = 5, kHeight = 16, kWidth = 20, kGroups = 3;
constexpr double kEps = 1e-5;
constexpr Surroundings kCausalBlock{.past = 2, .future = 0, .border = Border::kZero, .before = Border::kZero};

// Random weights, read from a file as layers read them.
class Layers : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove_all(dir_); }

  Tensor& operator[](const std::string& name) { return tensors_[name]; }
  void add_norm(const std::string& name, int64_t channels) {
    tensors_[name + ".weight"] = at::randn({channels});
    tensors_[name + ".bias"] = at::randn({channels});
  }
  void add_linear(const std::string& name, int64_t in, int64_t out, std::vector<int64_t> kernel = {}) {
    std::vector<int64_t> shape{out, in};
    shape.insert(shape.end(), kernel.begin(), kernel.end());
    tensors_[name + ".weight"] = at::randn(shape) * 0.3;
    tensors_[name + ".bias"] = at::randn({out});
  }
  Weights weights() {
    std::filesystem::create_directories(dir_);
    save_safetensors(dir_ / "layers.safetensors", {tensors_.begin(), tensors_.end()});
    checkpoint_ = Checkpoint::open(dir_, "layers", {});
    return Weights(*checkpoint_);
  }

  // Each of x [F, H, W, C] in float64.
  Tensor normed(const Tensor& x, const std::string& name) {
    const auto video = x.permute({3, 0, 1, 2}).unsqueeze(0);
    return at::group_norm(video, kGroups, wide(name + ".weight"), wide(name + ".bias"), kEps)[0].permute({1, 2, 3, 0});
  }
  Tensor convolved(const Tensor& x, const std::string& name) {
    const auto padded = at::constant_pad_nd(x.permute({3, 0, 1, 2}).unsqueeze(0), {1, 1, 1, 1, 2, 0});
    return at::conv3d(padded, wide(name + ".weight"), wide(name + ".bias"))[0].permute({1, 2, 3, 0});
  }
  Tensor mapped(const Tensor& x, const std::string& name) {
    return at::linear(x, wide(name + ".weight").flatten(1), wide(name + ".bias"));
  }

 private:
  Tensor wide(const std::string& name) { return tensors_.at(name).to(at::kDouble); }

  std::map<std::string, Tensor> tensors_;
  std::optional<Checkpoint> checkpoint_;
  std::filesystem::path dir_ = std::filesystem::temp_directory_path() / ("eav_layers_" + std::to_string(::getpid()));
};

TEST_F(Layers, NormsEqualTheFormula) {
  add_norm("norm", 12);
  const auto x = at::randn({kFrames, kHeight, kWidth, 12}) * 3 + 1;
  const auto frames = x.unbind();
  const auto apply = [&](const NormedSilu& silu) {
    const auto out = at::empty_like(x);
    for (int64_t t = 0; t < kFrames; ++t) silu(t, x[t], out[t]);
    return out;
  };
  const GroupNormSilu group{{weights() / "norm", 12, kGroups, kEps}};
  const auto wide = x.to(at::kDouble);
  EXPECT_LT(error(apply(group(frames)), at::silu(normed(wide, "norm"))), kBlockTolerance);

  const RmsNormSilu rms{kEps};
  const ChannelAffine affine{at::randn({12}), at::randn({12})};
  const auto expected = wide / (wide.square().mean(-1, true) + kEps).sqrt();
  EXPECT_LT(error(apply(rms(frames, std::nullopt)), at::silu(expected)), kBlockTolerance);
  EXPECT_LT(error(apply(rms(frames, affine)), at::silu(expected * affine.scale + affine.shift)), kBlockTolerance);
}

TEST_F(Layers, ResnetBlockEqualsTheFormula) {
  for (const int64_t out : {12, 6}) {
    add_norm("norm1", 12), add_norm("norm2", out);
    add_linear("conv1", 12, out, {3, 3, 3}), add_linear("conv2", out, out, {3, 3, 3});
    add_linear("shortcut", 12, out, {1, 1, 1});
    const auto w = weights();
    ResnetBlock<GroupNormSilu> block{{{{w / "norm1", 12, kGroups, kEps}}, {w / "conv1", 12, out, kCausalBlock}},
                                     {{{w / "norm2", out, kGroups, kEps}}, {w / "conv2", out, out, kCausalBlock}},
                                     {}};
    if (out != 12) block.conv_shortcut.emplace(w / "shortcut", 12, out);

    const auto x = at::randn({kFrames, kHeight, kWidth, 12}), wide = x.to(at::kDouble);
    const auto h = convolved(at::silu(normed(wide, "norm1")), "conv1");
    const auto expected =
        (out == 12 ? wide : mapped(wide, "shortcut")) + convolved(at::silu(normed(h, "norm2")), "conv2");
    for (const bool one_block : {false, true}) {
      Frames frames = x.clone().unbind();
      if (!one_block)
        for (auto& frame : frames) frame = frame.clone();
      Pass pass{.progress = Progress(), .one_block = one_block};
      EXPECT_LT(error(joined(block(std::move(frames), pass)), expected), kBlockTolerance) << out << one_block;
    }
  }
}

// Each frame sees itself and those before it: as if a whole clip had a mask.
TEST_F(Layers, AttentionEqualsTheFormula) {
  constexpr int64_t kChannels = 12, kPositions = kHeight * kWidth;
  add_norm("group_norm", kChannels);
  for (const auto* name : {"to_q", "to_k", "to_v", "to_out.0"}) add_linear(name, kChannels, kChannels);
  const CausalFrameAttention attention(weights(), kChannels, kGroups, kEps);
  const auto x = at::randn({kFrames, kHeight, kWidth, kChannels}), wide = x.to(at::kDouble);
  const auto tokens = normed(wide, "group_norm").flatten(0, 2);  // [F * S, C]
  const auto scores = at::matmul(mapped(tokens, "to_q"), mapped(tokens, "to_k").t()) / std::sqrt(double{kChannels});
  const auto frame_of = at::arange(kFrames).repeat_interleave(kPositions);
  const auto later = frame_of.unsqueeze(0) > frame_of.unsqueeze(1);
  const auto seen = at::matmul(scores.masked_fill(later, -INFINITY).softmax(-1), mapped(tokens, "to_v"));
  const auto expected = wide + mapped(seen, "to_out.0").view_as(wide);
  EXPECT_LT(error(joined(attention(x.clone().unbind())), expected), kBlockTolerance);
}

}  // namespace
}  // namespace eav
