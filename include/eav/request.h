// What a user asks for: one video.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "eav/option.h"

namespace [[gnu::visibility("default")]] eav {

// Transformer layers by number, as "0-5,8" names them.
struct LayerSet {
  struct Range {
    int64_t first, last;  // both included, 0 <= first <= last
    bool operator==(const Range&) const = default;
  };
  std::vector<Range> ranges;  // empty: every layer

  // Reads "0-5,8"; an empty text is every layer. Throws eav::Error that quotes the text when it is no such list.
  static LayerSet parse(const std::string& text);
  std::string str() const;
  bool contains(int64_t layer) const;
  // Those of first..last that are in this set. Throws eav::Error when none is.
  LayerSet within(int64_t first, int64_t last) const;
  bool operator==(const LayerSet&) const = default;
};

// Enhance-A-Video (arXiv 2502.07508): the attention output of a layer is scaled by max(1, CFI * (T + weight)).
struct EnhanceOptions {
  bool enabled = true;
  std::optional<double> weight = {};  // 0 to 100; unset: the family's own
  bool adaptive = false;              // instead, a weight for each step by the video's own CFI: see docs/adaptive.md
  double start = 0, end = 1;          // step i of N is enhanced when start*N <= i < end*N; 0 <= start < end <= 1
  LayerSet layers = {};
  bool maps = false;  // keep attention maps in the trace; the video is the same
  bool operator==(const EnhanceOptions&) const = default;
};

// The type that a model computes in.
enum class Dtype { automatic, float32, bfloat16, float16 };
// "auto", "float32", "bfloat16", "float16"; throws eav::Error that lists them.
Dtype parse_dtype(const std::string& name);
std::string to_string(Dtype dtype);

// How the matrices in the blocks of transformers and text encoders are held and multiplied: as numbers of the type
// above, or in int8, as activations are when they meet them. What stands beside the blocks stays.
enum class Quantize { none, int8 };
// "none", "int8"; throws eav::Error that lists them.
Quantize parse_quantize(const std::string& name);
std::string to_string(Quantize quantize);

// Where and how a model runs; the same for all videos of one Generator.
struct Runtime {
  std::string device = "cpu";  // "cpu", "cuda" or "cuda:N"
  Dtype dtype = Dtype::automatic;
  std::map<std::string, Dtype> part_dtypes = {};  // of parts that compute in another, by name: {"vae", float32}
  Quantize quantize = Quantize::none;
  std::map<std::string, Quantize> part_quantize = {};  // of parts that have their own: {"text_encoder", none}
  int threads = 0;                                     // 0: as many as there are cores
  bool offload = false;  // load the blocks of a model one at a time, each when it is used: slower, in little memory
};

// The types of a runtime in one word: "bfloat16", or "bfloat16,vae=float32" where parts have their own. The second
// throws eav::Error that says what serves.
std::string dtypes_of(const Runtime& runtime);
void set_dtypes(Runtime& runtime, const std::string& text);
// The same of quantisation: "int8", or "int8,text_encoder=none".
std::string quantize_of(const Runtime& runtime);
void set_quantize(Runtime& runtime, const std::string& text);

// Unset fields take the checkpoint's defaults: its eav.json's, else its family's.
struct Request {
  std::string prompt;                               // UTF-8
  std::optional<std::string> negative_prompt = {};  // UTF-8; counts where guidance is above 1
  std::optional<uint64_t> seed = {};
  std::optional<int64_t> width = {}, height = {};  // pixels
  std::optional<int64_t> frames = {};              // of the video, not of the latents
  std::optional<double> fps = {};
  std::optional<int64_t> steps = {};          // denoising steps
  std::optional<double> guidance = {};        // guidance scale; at most 1 turns guidance off. HunyuanVideo: embedded
  std::optional<std::string> scheduler = {};  // "ddim", "dpm", "euler" or "unipc": the family's
  bool latents_only = false;                  // stop before the VAE
  std::filesystem::path init_latents = {};    // a .safetensors file with "latents": the noise to start from, or the
                                              // latents that a denoise strength below 1 changes
  EnhanceOptions enhance = {};
  // Options that not every family has, such as {"flow_shift", 7.0} or {"conditions", std::vector<Condition>{…}}:
  // `eav options` and Generator::options() list them.
  Settings settings = {};
  bool operator==(const Request&) const = default;

  // Sets a field, or a setting, by the name of its option. "enhance_weight" takes "auto" too. Throws eav::Error where
  // the value is of another type than the field.
  void set(const std::string& name, const Value& value);
  // Takes what was set of an option back.
  void unset(const std::string& name);
  // Everything that is asked for, by name: fields that are set and differ from their default, and the settings.
  Settings asked() const;
};

}  // namespace eav
