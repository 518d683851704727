// Generates videos: the library's main entry.
#pragma once
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "eav/error.h"
#include "eav/grid.h"
#include "eav/lora.h"
#include "eav/preview.h"
#include "eav/progress.h"
#include "eav/request.h"
#include "eav/saved_state.h"
#include "eav/trace.h"

namespace eav {
class VideoJob;
struct BlockProbe;
}  // namespace eav

namespace [[gnu::visibility("default")]] eav {

// One finished video.
struct Output {
  Request request;       // every field set, the seed too: this request makes the same video again
  at::Tensor latents{};  // before the VAE, shaped as the diffusers pipeline returns them with output_type="latent"
  at::Tensor frames{};   // [frames, height, width, 3] uint8, RGB; undefined with latents_only
  Trace trace{};         // what the enhancement did
  struct Seconds {
    double text_encoder = 0, transformer = 0, vae = 0;
  } seconds{};  // this video's share, loading included
};

// Memory that a run needs, in bytes. The phases follow one another: a run needs the largest of them.
struct MemoryPlan {
  struct Phase {
    int64_t weights = 0, activations = 0;
    int64_t total() const { return weights + activations; }
  };
  Phase text_encoder, transformer;
  std::optional<Phase> vae;      // unset where a run stops at latents
  Dtype dtype = Dtype::float32;  // that weights are held in
  int64_t peak() const;
};

// A part of a checkpoint.
struct PartInfo {
  std::string name;                                       // "transformer"
  std::string kind;                                       // its class, as diffusers names it
  int64_t parameters = 0;                                 // 0 for parts without weights
  std::vector<std::pair<std::string, int64_t>> dtypes{};  // stored type -> parameters
  int64_t bytes = 0;                                      // on disk
};

// What a checkpoint holds.
struct Inspection {
  std::string family;  // "CogVideoX", "HunyuanVideo", "HunyuanVideo, image to video (latent_concat)", "LTX-Video"
  std::vector<PartInfo> parts;
  int64_t layers = 0;           // transformer layers
  std::string enhanced_layers;  // which attention the enhancement touches, in words
};

// What a single file holds.
struct FileInspection {
  std::vector<PartInfo> parts;     // their kinds say whose they are: "Wan 2.1's VAE"
  std::vector<std::string> needs;  // which other parts a video needs, and by which option each is given
};
// Throws eav::Error where the file is none of weights, or holds nothing that is known.
FileInspection inspect_file(const std::filesystem::path& file);

// The size of a video.
struct VideoSize {
  int64_t frames, height, width;  // in pixels
};

// Where a checkpoint lies. A folder holds all parts of a model; of a single file, others are told apart. The root of a
// model in the cache of the hub (models--ORG--NAME) stands for its snapshot.
struct ModelPaths {
  std::filesystem::path model;              // a folder, or a file with the transformer and perhaps other parts
  std::filesystem::path vae{};              // where the model has none of its own: a file or a folder
  std::filesystem::path text_encoder{};     // the same: a file, or a folder with the encoder and its tokenizer
  std::filesystem::path text_encoder_2{};   // HunyuanVideo's CLIP, beside a LLaMA in a file
  std::filesystem::path image_encoder{};    // of models that see pictures as tokens
  std::filesystem::path tokenizer{};        // a folder, where a file with a text encoder has none
  std::filesystem::path model_2{};          // the second expert, for the low noise, where the first is a file
  std::filesystem::path latent_upscaler{};  // LTX-Video's, for two passes: a file or a folder
  std::filesystem::path comfyui{};          // ComfyUI's folder, in which parts that are not given are looked up
  std::vector<Lora> loras{};                // that change the transformer, one after the other

  // The members that are paths, by the names of their options.
  static const std::vector<std::pair<std::string, std::filesystem::path ModelPaths::*>>& members();
};

// A video to be made: a request worked out against a checkpoint. Copies are the same job.
class Job {
 public:
  // The request with every field and option set: it makes the same video again.
  Request request() const;
  // The video that it will give. Open-Sora rounds its size, and a loop of clips has more frames.
  VideoSize video_size() const;
  // The grid of video tokens.
  Grid grid() const;
  // What it needs in the type that the generator chose; without a VAE where it stops at latents.
  MemoryPlan plan() const;
  // Throws eav::Error when the request, which suffices for plan(), lacks what a video needs: an image to set out from.
  void check_complete() const;

 private:
  friend class Generator;
  std::shared_ptr<VideoJob> job_;
  std::function<MemoryPlan()> plan_;
  bool may_tile_ = false;  // whether the VAE may decode in tiles where memory runs out otherwise
};

// A checkpoint, opened for generating.
class Generator {
 public:
  // Reads the checkpoint's configuration, not yet its weights. Throws eav::Error when `model` is no checkpoint of a
  // known family, or the device is not there.
  Generator(const ModelPaths& paths, const Runtime& runtime);
  Generator(const std::filesystem::path& model, const Runtime& runtime)
      : Generator(ModelPaths{.model = model}, runtime) {}
  ~Generator();
  Generator(Generator&&) noexcept;
  Generator& operator=(Generator&&) noexcept;

  // What can be asked of this checkpoint, with its defaults: those of its eav.json, else of its family.
  std::vector<OptionSpec> options() const;
  // Works a request out: what is not asked for takes its default, a seed is drawn, conditions are read. Throws
  // eav::Error when a value cannot work, naming values that do, and for an option that this checkpoint does not have,
  // naming the families that do. Whether the VAE decodes in tiles is decided by the memory at hand, where it is open.
  Job open(const Request& request) const;

  Inspection inspect() const;
  // What a user should know of this checkpoint's own defaults, in one line; empty for most.
  std::string note() const;
  // What was applied of each of its LoRAs, one line each.
  const std::vector<std::string>& lora_notes() const;
  // The runtime with 0 threads replaced by what was chosen, and after run() also "auto".
  const Runtime& runtime() const;
  const ModelPaths& paths() const;
  // Identifies the checkpoint's content: equal for copies, different when configuration or weights differ.
  std::string fingerprint() const;

  // Whether models stay in memory after run(), for the next one; false at first.
  void keep_models(bool keep);

  // Makes one video for each job, which open() gave, and hands each to `done` as soon as it is there. Text encoders are
  // loaded, used for all prompts and released before the transformer; with a single job the transformer is released
  // before the VAE. Throws eav::Error before any work when memory does not suffice or check_complete() would, and
  // Cancelled when `progress` asks to stop.
  // A decode that runs out of memory begins again in tiles, with a warning, unless the request asks for none.
  // A video whose latents are not finite after denoising is not decoded: `failed` gets its error in the place of
  // `done`, in the order of the jobs, and the videos after it are made. Without `failed` that error is thrown.
  // `saving` keeps the state of the video that is being made, and the first one goes on from such a state: it must be
  // one of that job, from the same checkpoint, else it throws eav::Error or gives another video.
  // `preview` is shown the videos while they are denoised, which changes no bit of them.
  void run(std::span<const Job> jobs, Progress& progress, const std::function<void(Output&&)>& done,
           const std::function<void(const Error&)>& failed = nullptr, const Saving& saving = {},
           const Preview& preview = {});

 private:
  friend class Bencher;  // eav/bench.h
  // The job, on models that are only measured: see BlockProbe.
  VideoJob& probe(const Job& job, const std::shared_ptr<BlockProbe>& probe) const;
  struct [[gnu::visibility("hidden")]] State;
  std::shared_ptr<State> state_;
};

// Versions of this library and of PyTorch, and the type of the CPU, and of the GPU if the device is one: what a run's
// bits depend on beside its threads.
struct Environment {
  std::string version, torch, cpu;
  std::string gpu{};  // "NVIDIA H100 80GB HBM3, driver 580.65.06, CUDA 13.0"
};
// Throws eav::Error when the device is not there.
Environment environment(const std::string& device = "cpu");

}  // namespace eav
