// eav_probe open_sora PART DIR --input FILE --out FILE [OPTIONS]: parts of Open-Sora, from DIR/config.json and
// DIR/model.safetensors, in float32, on the CPU or --device NAME.
//   forward: one forward of the transformer, [--weight W] enhanced and [--compute TYPE] in another type; writes "out",
//   and "cfi" and "gain" of each layer
//   decode: latents "z_N" -> N frames "video", --frames N; encode: "encode_x" -> "mode", from DIR/vae_config.json and
//   DIR/vae.safetensors
//   sample: the whole loop, --steps N --guidance G --height H --width W --frames F --fps N [--weight W]; writes "out"
#include <ATen/ATen.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "models/open_sora/denoiser.h"
#include "models/open_sora/vae.h"
#include "weights/config.h"
#include "weights/placement.h"
#include "weights/safetensors.h"

namespace {

namespace fs = std::filesystem;
using namespace eav::open_sora;
using Arguments = std::vector<std::string>;

std::string option(const Arguments& arguments, const std::string& name, const std::string& fallback = "") {
  const auto found = std::ranges::find(arguments, "--" + name);
  return found == arguments.end() || found + 1 == arguments.end() ? fallback : found[1];
}

class Inputs {
 public:
  Inputs(const fs::path& path, at::Device device) : device(device), file_(path) {}
  bool has(const std::string& name) const { return file_.entries().contains(name); }
  at::Tensor operator[](const std::string& name) const { return file_.view(file_.entries().at(name)).to(device); }
  double number(const std::string& name) const { return (*this)[name].flatten()[0].item<double>(); }

  // Captions without their padding.
  Captions captions(at::ScalarType type = at::kFloat) const {
    Captions captions;
    const auto y = (*this)["y"], mask = (*this)["mask"];
    for (int64_t b = 0; b < y.size(0); ++b) captions.push_back(y[b][0].index({mask[b] != 0}).to(type));
    return captions;
  }

  const at::Device device;

 private:
  eav::SafetensorsFile file_;
};

Transformer open_transformer(const fs::path& dir, at::Device device, at::ScalarType type = at::kFloat) {
  const auto checkpoint = eav::Checkpoint::open(dir, "model", {.dtype = type, .device = device});
  Transformer transformer(eav::Weights(checkpoint), TransformerConfig::read(eav::JsonFile(dir / "config.json")));
  checkpoint.check_all_read();
  return transformer;
}

eav::Enhancer enhancer(const Arguments& arguments, const fs::path& dir, int64_t steps) {
  const auto weight = option(arguments, "weight");
  eav::EnhanceOptions options;
  options.enabled = !weight.empty();
  options.weight = weight.empty() ? 0 : std::stod(weight);
  return {options, steps, TransformerConfig::read(eav::JsonFile(dir / "config.json")).depth};
}

void save(const fs::path& path, const at::Tensor& out, const eav::Trace& trace) {
  std::vector<double> cfi, gain;
  for (const auto& entry : trace.entries) {
    cfi.push_back(entry.cfi);
    gain.push_back(entry.gain);
  }
  eav::save_safetensors(
      path,
      {{"out", out.contiguous()}, {"cfi", at::tensor(cfi, at::kDouble)}, {"gain", at::tensor(gain, at::kDouble)}});
}

void forward(const fs::path& dir, const Inputs& in, const Arguments& arguments) {
  const auto compute = option(arguments, "compute", "float32");
  const auto type = compute == "bfloat16" ? at::kBFloat16 : compute == "float16" ? at::kHalf : at::kFloat;
  const auto transformer = open_transformer(dir, in.device, type);
  const auto x = in["x"].to(type);
  auto enhance = enhancer(arguments, dir, 1);
  enhance.begin_step(0);
  const eav::Progress progress;
  eav::Step step{transformer.grid(x.size(2), x.size(3), x.size(4)), enhance, progress};
  std::optional<at::Tensor> mask;
  if (in.has("x_mask")) mask = in["x_mask"] != 0;
  const Transformer::Video video{in.number("fps"), static_cast<int64_t>(in.number("height")),
                                 static_cast<int64_t>(in.number("width"))};
  const auto inputs = transformer.prepare(in.captions(type), video, x.size(3), x.size(4));
  const auto out = transformer(x, in["t"], inputs, mask, step);
  save(option(arguments, "out"), out, enhance.trace());
}

void sample(const fs::path& dir, const Inputs& in, const Arguments& arguments) {
  const auto transformer = open_transformer(dir, in.device);
  const auto number = [&](const char* name) { return std::stoll(option(arguments, name)); };
  const auto steps = number("steps"), height = number("height"), width = number("width");
  eav::RectifiedFlowScheduler scheduler(steps, height, width, number("frames"));
  auto enhance = enhancer(arguments, dir, steps);
  auto captions = in.captions();
  // The null caption is padded as little as the prompt's: both have its mask.
  captions.push_back(in["y_null"][0][0].index({in["mask"][0] != 0}));
  std::optional<GivenFrames> given;
  int64_t next = 0;
  if (in.has("frame_mask")) given = GivenFrames{in["frame_mask"].flatten(), [&] { return in["noise"][next++]; }};
  const auto z = in["z"];
  const Transformer::Video video{static_cast<double>(number("fps")), height, width};
  const Told told{transformer.prepare(captions, video, z.size(3), z.size(4)), std::stod(option(arguments, "guidance")),
                  at::kFloat};
  OpenSoraDenoiser denoiser(transformer, scheduler, told, given);
  at::Generator unused;
  eav::Progress progress;
  const auto out = eav::sample(denoiser, scheduler, z,
                               {enhance, transformer.grid(z.size(2), z.size(3), z.size(4)), unused, progress});
  save(option(arguments, "out"), out, enhance.trace());
}

template <class Half>
Half open_vae(const fs::path& dir, at::Device device) {
  const auto checkpoint = eav::Checkpoint::open(dir, "vae", {.device = device});
  Half half(eav::Weights(checkpoint), VaeConfig::read(eav::JsonFile(dir / "vae_config.json")));
  checkpoint.check_all_read(Half::unneeded_keys());
  return half;
}

void decode(const fs::path& dir, const Inputs& in, const Arguments& arguments) {
  const auto frames = option(arguments, "frames");
  eav::Progress progress;
  const auto video = open_vae<Vae>(dir, in.device).decode(in["z_" + frames], std::stoll(frames), progress);
  eav::save_safetensors(option(arguments, "out"), {{"video", video}});
}

void encode(const fs::path& dir, const Inputs& in, const Arguments& arguments) {
  const auto mode = open_vae<VaeEncoder>(dir, in.device)(in["encode_x"], {});
  eav::save_safetensors(option(arguments, "out"), {{"mode", mode}});
}

}  // namespace

void open_sora(const Arguments& arguments) {
  const std::map<std::string, void (*)(const fs::path&, const Inputs&, const Arguments&)> parts{
      {"forward", forward}, {"sample", sample}, {"decode", decode}, {"encode", encode}};
  parts.at(arguments.at(0))(arguments.at(1),
                            Inputs(option(arguments, "input"), eav::parse_device(option(arguments, "device", "cpu"))),
                            arguments);
}
