// The parts of eav_bench. Each is prepared once with the arguments of the command line and then run again and again.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "weights/weights.h"

namespace eav::bench {

struct Arguments : std::vector<std::string> {
  using std::vector<std::string>::vector;
  std::shared_ptr<BlockProbe> probe =
      {};  // set: transformers are opened with their first blocks alone, which are timed

  // Of "float32", "bfloat16", and "int8", whose activations are in bfloat16.
  static at::ScalarType type_of(const std::string& name) { return name == "float32" ? at::kFloat : at::kBFloat16; }
  LoadPolicy policy(const std::string& name) const {
    return {.dtype = type_of(name), .quantize = name == "int8" ? Quantize::int8 : Quantize::none, .probe = probe};
  }
};
using Prepare = std::function<std::function<void()>(const Arguments&)>;

// DIR LATENTS [--tiling]: decodes the tensor "latents" of the file LATENTS with the autoencoder in DIR, and tells on
// standard error the memory that is planned for it.
std::function<void()> vae_decode(const Arguments& arguments);

// DIR INPUTS float32|bfloat16 on|off: one forward pass of the transformer in DIR over the tensors "latents" and "text"
// of the file INPUTS, without or with the enhancement.
std::function<void()> transformer(const Arguments& arguments);

// DIR INPUTS float32|bfloat16: one pass of the T5 or UMT5 encoder in DIR over the tensor "ids" of the file INPUTS.
std::function<void()> t5(const Arguments& arguments);

// library|kernel HEADS QUERIES KEYS D: attention in bfloat16, computed by ATen or by kernels/attention.h.
std::function<void()> attention(const Arguments& arguments);

// library|kernel ROWS IN OUT: one linear layer in float32, computed by ATen or by kernels/matmul.h.
std::function<void()> linear(const Arguments& arguments);

// int8|bfloat16 ROWS IN OUT gelu|plain: one linear layer of bfloat16 numbers, its weights in int8 or not.
std::function<void()> int8_linear(const Arguments& arguments);

// DIR: a block of CogVideoX-2B's width, the first of the transformer in DIR, in int8 and in float32; tells on standard
// error how large its change of the tokens is beside the difference, in decibels.
std::function<void()> int8_block(const Arguments& arguments);

// DIR INPUTS float32|bfloat16 on|off N: the same for HunyuanVideo, with "pooled" too, and N real tokens of "text".
std::function<void()> hunyuan_video(const Arguments& arguments);

// DIR INPUTS float32|bfloat16 on|off F H W: the same for LTX-Video, with packed latents of F x H x W.
std::function<void()> ltx_video(const Arguments& arguments);

// float32|bfloat16 HEADS L FIRST T S D: what the enhancement adds to one layer: CFI of the T x S tokens from FIRST on.
std::function<void()> cfi(const Arguments& arguments);

// DIR INPUTS float32|bfloat16 on|off: the same for Wan.
std::function<void()> wan(const Arguments& arguments);

// DIR INPUTS float32|bfloat16 off|on|maps H W: the same for Open-Sora, with a video of H x W pixels; "maps" keeps the
// attention maps too.
std::function<void()> open_sora(const Arguments& arguments);

}  // namespace eav::bench
