// One forward pass of LTX-Video's transformer.
#include "bench.h"
#include "enhance/enhancer.h"
#include "models/ltx_video/start.h"
#include "models/ltx_video/transformer.h"
#include "weights/safetensors.h"

namespace eav::bench {

std::function<void()> ltx_video(const Arguments& arguments) {
  const auto& folder = arguments.at(0);
  const SafetensorsFile inputs(arguments.at(1));
  const auto type = Arguments::type_of(arguments.at(2));
  const bool enhanced = arguments.at(3) == "on";
  const int64_t frames = std::stol(arguments.at(4)), height = std::stol(arguments.at(5)),
                width = std::stol(arguments.at(6));

  const auto config = ltx_video::TransformerConfig::read(JsonFile(folder + "/config.json"));
  const auto checkpoint = Checkpoint::open(folder, "diffusion_pytorch_model", arguments.policy(arguments.at(2)));
  const auto model = std::make_shared<ltx_video::Transformer>(Weights(checkpoint), config);
  const auto latents = inputs.view(inputs.entries().at("latents")).to(type);  // [B, L, in_channels]
  const auto text = inputs.view(inputs.entries().at("text")).to(type);        // [B, text_len, caption_channels]
  const auto mask = at::ones({text.size(0), text.size(1)}, at::kBool);
  const auto start =
      ltx_video::start_from_latents(latents, {latents.size(2), frames, height, width, /*frame_ratio=*/8, 32, 25});
  return [=] {
    const auto prepared = model->prepare({text, mask}, start.positions, 0);
    Enhancer enhancer({.enabled = enhanced, .weight = 4}, 1, config.num_layers);
    const Progress progress;
    Step step{{frames, height * width}, enhancer, progress};
    (*model)(latents, {at::full({1}, 500.0), {latents.size(1)}}, prepared, step);
  };
}

}  // namespace eav::bench
