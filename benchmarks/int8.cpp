// Linear layers in int8 against bfloat16, and blocks in int8 against float32.
#include <fmt/format.h>

#include <filesystem>
#include <iostream>

#include "bench.h"
#include "enhance/enhancer.h"
#include "models/cogvideox/transformer.h"
#include "nn/linear.h"
#include "weights/safetensors.h"

namespace eav::bench {

std::function<void()> int8_linear(const Arguments& arguments) {
  const bool quantised = arguments.at(0) == "int8";
  const int64_t rows = std::stol(arguments.at(1)), in = std::stol(arguments.at(2)), out = std::stol(arguments.at(3));
  const bool gelu = arguments.at(4) == "gelu";
  const auto dir = std::filesystem::temp_directory_path() / fmt::format("eav-bench-{}-{}-{}", in, out, quantised);
  std::filesystem::create_directories(dir);
  save_safetensors(dir / "model.safetensors", {{"weight", (at::randn({out, in}) / std::sqrt(in)).to(at::kBFloat16)},
                                               {"bias", at::randn({out}).to(at::kBFloat16)}});
  const auto checkpoint = std::make_shared<Checkpoint>(Checkpoint::open(
      dir, "model", {.dtype = at::kBFloat16, .quantize = quantised ? Quantize::int8 : Quantize::none}));
  std::filesystem::remove_all(dir);
  const auto linear = std::make_shared<Linear>(Weights(*checkpoint).quantised(), in, out);
  const auto x = at::randn({rows, in}).to(at::kBFloat16), y = at::empty({rows, out}, x.options());
  return [=] {
    gelu ? linear->gelu_tanh_into(y, x) : linear->into(y, x);
    static_cast<void>(checkpoint);
  };
}

namespace {

constexpr Grid kGrid{4, 256};
constexpr int64_t kText = 226;

// What a block of CogVideoX-2B's width adds to tokens.
Tensor cogvideox_change(const Weights& w, const JsonFile& json, const Tensor& x, const Tensor& temb, Step& step) {
  const cogvideox::Block block(w, cogvideox::TransformerConfig::read(json), 0);
  cogvideox::Tokens tokens{x.clone(), kText};
  block(tokens, temb, std::nullopt, step);
  return tokens.all - x;
}

}  // namespace

std::function<void()> int8_block(const Arguments& arguments) {
  const std::filesystem::path dir = arguments.at(0);
  const JsonFile json(dir / "config.json");
  at::manual_seed(1);
  const auto x = at::randn({1, kText + kGrid.frames * kGrid.positions, 1920}), temb = at::randn({1, 512});
  return [=] {
    Enhancer enhancer({.enabled = false}, 1, 1);
    const Progress progress;
    Step step{kGrid, enhancer, progress};
    const auto change = [&](Quantize quantize) {
      const auto checkpoint = Checkpoint::open(dir, "diffusion_pytorch_model", {.quantize = quantize});
      return cogvideox_change(Weights(checkpoint).quantised() / "transformer_blocks" / 0, json, x, temb, step);
    };
    const auto expected = change(Quantize::none), error = change(Quantize::int8) - expected;
    std::cerr << fmt::format("{:.2f}\n", 20 * std::log10((expected.norm() / error.norm()).item<double>()));
  };
}

}  // namespace eav::bench
