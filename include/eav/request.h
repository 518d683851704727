// What a user asks for: one video.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace eav {

// Transformer layers by number, as `--enhance-layers 0-5,8` names them.
struct LayerSet {
  struct Range {
    int64_t first, last;  // both included, 0 <= first <= last
  };
  std::vector<Range> ranges;  // empty: every layer

  // Reads "0-5,8". Throws eav::Error that quotes the text when it is no such list.
  static LayerSet parse(const std::string& text);
  std::string str() const;
  bool contains(int64_t layer) const;
};

// Enhance-A-Video (arXiv 2502.07508): the attention output of a layer is scaled by max(1, CFI * (T + weight)).
struct EnhanceOptions {
  bool enabled = true;
  std::optional<double> weight;  // 0 to 100; unset: the family's own
  double start = 0, end = 1;     // step i of N is enhanced when start*N <= i < end*N; 0 <= start < end <= 1
  LayerSet layers{};
};

// The type that a model computes in.
enum class Dtype { automatic, float32, bfloat16, float16 };
// "auto", "float32", "bfloat16", "float16"; throws eav::Error that lists them.
Dtype parse_dtype(const std::string& name);
std::string to_string(Dtype dtype);

// Where and how a model runs; the same for all videos of one Generator.
struct Runtime {
  std::string device = "cpu";  // "cpu", "cuda" or "cuda:N"
  Dtype dtype = Dtype::automatic;
  int threads = 0;  // 0: as many as there are cores
};

// Unset fields take the checkpoint's defaults (its eav.json, else its configuration): see Generator::resolve.
struct Request {
  std::string prompt;           // UTF-8
  std::string negative_prompt;  // UTF-8; counts where guidance is above 1
  std::optional<uint64_t> seed;
  std::optional<int64_t> width, height;  // pixels
  std::optional<int64_t> frames;         // of the video, not of the latents
  std::optional<double> fps;
  std::optional<int64_t> steps;
  std::optional<double> guidance;        // guidance scale; at most 1 turns guidance off
  bool dynamic_guidance = false;         // CogVideoX's cosine schedule of the guidance scale
  std::optional<std::string> scheduler;  // "ddim" or "dpm"
  bool vae_tiling = false;               // decode in tiles: less memory, another picture
  EnhanceOptions enhance;
  std::filesystem::path init_latents;  // a .safetensors file with "latents": the noise to start from
};

}  // namespace eav
