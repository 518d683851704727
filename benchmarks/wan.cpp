// One forward pass of Wan's transformer.
#include "bench.h"
#include "enhance/enhancer.h"
#include "models/wan/original_names.h"
#include "models/wan/transformer.h"
#include "weights/safetensors.h"

namespace eav::bench {

std::function<void()> wan(const Arguments& arguments) {
  const auto& folder = arguments.at(0);
  const SafetensorsFile inputs(arguments.at(1));
  const auto type = Arguments::type_of(arguments.at(2));
  const bool enhanced = arguments.at(3) == "on";

  const auto config = wan::TransformerConfig::read(JsonFile(folder + "/config.json"));
  const CheckpointSource source{
      .path = folder, .stem = "diffusion_pytorch_model", .rename = wan::transformer_names};  // what convert writes, too
  const auto checkpoint = Checkpoint::open(source, arguments.policy(arguments.at(2)));
  const auto model = std::make_shared<wan::Transformer>(Weights(checkpoint), config);
  const auto latents = inputs.view(inputs.entries().at("latents")).to(type);  // [1, in_channels, F, h, w]
  const auto text = inputs.view(inputs.entries().at("text")).to(type);        // [1, 512, text_dim]
  const auto frames = latents.size(2), height = latents.size(3), width = latents.size(4);
  const auto positions = (height / config.patch_size[1]) * (width / config.patch_size[2]);
  return [=] {
    Enhancer enhancer({.enabled = enhanced, .weight = 4}, 1, config.num_layers);
    const Progress progress;
    Step step{{frames, positions}, enhancer, progress};
    (*model)(latents, {at::full({1}, 500.0), {frames * positions}}, model->context(text, {}),
             model->rope(frames, height, width, at::kCPU), step);
  };
}

}  // namespace eav::bench
