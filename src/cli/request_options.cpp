#include "request_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "demo.h"
#include "eav/fast.h"
#include "options.h"

namespace eav {
namespace {

const char* kModelGroup = "Model and machine";

std::string group_of(const SharedOption& option) {
  if (option.spec.common) return "Options of every model";
  return option.families.size() > 1 ? "Options of several models" : "Options of " + option.families[0];
}

// "LTX-Video, Open-Sora: how … [stretch; Open-Sora crop]"
std::string described(const std::string& help, const std::vector<std::string>& families, const std::string& standards) {
  return fmt::format("{}{}{}", families.size() > 1 ? fmt::format("{}: ", fmt::join(families, ", ")) : "", help,
                     standards.empty() ? "" : fmt::format(" [{}]", standards));
}

// In lines that end before column 120; CLI11 puts each below the one before.
std::string wrapped(const std::string& text) {
  constexpr size_t kWidth = 88;
  std::string lines;
  size_t length = 0;
  for (size_t begin = 0; begin < text.size();) {
    const auto end = std::min(text.find(' ', begin), text.size());
    const auto word = end - begin;
    if (length > 0 && length + 1 + word > kWidth) {
      lines += '\n';
      length = 0;
    } else if (length > 0) {
      lines += ' ';
      ++length;
    }
    lines += text.substr(begin, word);
    length += word;
    begin = end + 1;
  }
  return lines;
}

// --image, --video and --last-image in their order, and what belongs to the one before: the parts of "conditions".
void add_conditions(CLI::App& command, const SharedOption& option, Settings& settings) {
  const auto list = [&settings]() -> std::vector<Condition>& {
    auto& value = settings["conditions"];
    if (!std::holds_alternative<std::vector<Condition>>(value)) value = std::vector<Condition>();
    return std::get<std::vector<Condition>>(value);
  };
  const auto last = [list](const char* flag) -> Condition& {
    if (list().empty()) throw Error(fmt::format("{} belongs to the --image or --video before it", flag));
    return list().back();
  };
  const auto help = [&](const char* part, const char* text, const char* standard = "") {
    return wrapped(
        described(fmt::format("{}: {}", fmt::join(option.families_of_parts.at(part), ", "), text), {}, standard));
  };
  const auto file = [&](const char* name, const char* part, const char* text, const Condition& condition) {
    command
        .add_option_function<std::string>(
            name,
            [list, condition](const std::string& path) {
              auto with_file = condition;
              with_file.file = path;
              list().push_back(with_file);
            },
            help(part, text))
        ->type_name("FILE")
        ->group("Pictures and clips")
        ->trigger_on_parse();
  };
  file("--image", "image", "a picture that the video begins with or shows", {});
  file("--video", "video", "a video that the new one goes on from or shows", {.file = {}, .is_video = true});
  file("--last-image", "last_image", "a picture that the video ends with", {.file = {}, .frame_index = -1});
  add_whole(command, "--frame-index",
            help("frame_index", "frame of the new video at which the --image or --video before this flag begins", "0"),
            0, std::numeric_limits<int32_t>::max(),
            [last](uint64_t v) { last("--frame-index").frame_index = static_cast<int64_t>(v); })
      ->group("Pictures and clips")
      ->trigger_on_parse();
  add_number(command, "--strength",
             help("strength", "how closely the --image or --video before this flag is kept, 0 to 1", "1"), 0, 1,
             [last](double v) { last("--strength").strength = v; })
      ->group("Pictures and clips")
      ->trigger_on_parse();
}

void add_option(CLI::App& command, const SharedOption& option, Settings& settings) {
  const auto& spec = option.spec;
  const auto flag = flag_of(spec.name);
  const bool of_several = option.families.size() > 1 && !spec.common, is_flag = spec.type == OptionSpec::Type::boolean;
  const auto off = "--no-" + flag.substr(2);
  const bool is_on = is_flag && spec.standard == Value(true);
  const auto help = wrapped(described(spec.help, of_several ? option.families : std::vector<std::string>(),
                                      option.standards + (is_on ? fmt::format("; {} turns it off", off) : "")));
  if (is_flag) {
    const auto set = [&settings, name = spec.name](bool on) { return [&settings, name, on] { settings[name] = on; }; };
    command.add_flag_callback(flag, set(true), help)->group(group_of(option));
    command.add_flag_callback(off, set(false), help)->group("");  // not listed
    return;
  }
  const auto set = [&settings, spec, flag](const std::string& text) {
    try {
      settings[spec.name] = parse_value(spec, text);
    } catch (const Error& error) {
      throw CLI::ValidationError(flag, error.what());
    }
  };
  command.add_option_function<std::string>(flag, set, help)->type_name(kind_of_value(spec))->group(group_of(option));
}

}  // namespace

ModelPaths AskedOptions::paths_over(const ModelPaths& recorded) const {
  auto found = paths.model.empty() ? recorded : paths;
  for (const auto& [option, member] : ModelPaths::members())
    if (!(paths.*member).empty()) found.*member = paths.*member;
  found.loras = without_loras ? std::vector<Lora>() : paths.loras.empty() ? recorded.loras : paths.loras;
  if (found.model.empty()) found.model = demo_model();
  return found;
}

Runtime AskedOptions::runtime_over(Runtime runtime) const {
  if (device) runtime.device = *device;
  if (fast) runtime = fastest(std::move(runtime));
  if (dtype) set_dtypes(runtime, *dtype);
  if (quantize) set_quantize(runtime, *quantize);
  if (threads) runtime.threads = *threads;
  runtime.offload = runtime.offload || offload;
  return runtime;
}

Request AskedOptions::over(Request request) const {
  if (fast)
    for (const auto& [name, value] : fewer_steps()) request.set(name, value);
  for (const auto& [name, value] : settings) {
    for (const auto& other : find_option(name)->spec.stands_for) request.unset(other);
    if (name == "cache")  // what was recorded belongs to another
      for (const auto* other : {"cache_threshold", "cache_interval", "mag_ratios"}) request.unset(other);
  }
  for (const auto& [name, value] : settings) request.set(name, value);
  return request;
}

void add_part_options(CLI::App& command, ModelPaths& paths) {
  const auto path = [&](const char* name, const char* kind, std::filesystem::path& to, const char* help) {
    command.add_option(name, to, wrapped(help))->type_name(kind)->group(kModelGroup);
  };
  path("--vae", "PATH", paths.vae, "File or folder of the VAE, where --model has none");
  path("--text-encoder", "PATH", paths.text_encoder,
       "File of the text encoder, or folder of it and its tokenizer, where --model has none");
  path("--text-encoder-2", "FILE", paths.text_encoder_2, "HunyuanVideo: file or folder of CLIP-L");
  path("--image-encoder", "PATH", paths.image_encoder,
       "HunyuanVideo, Wan: file or folder of what sees pictures, for image to video");
  path("--tokenizer", "DIR", paths.tokenizer,
       "Folder of the tokenizer, where the file of the text encoder has none; for HunyuanVideo with tokenizer/ and "
       "tokenizer_2/ in it");
  path("--model-2", "FILE", paths.model_2, "Wan 2.2: the expert for low noise, beside the one for high noise");
  path("--latent-upscaler", "PATH", paths.latent_upscaler,
       "LTX-Video 0.9.7 and 0.9.8: file or folder of the latent upscaler, for two passes as the release runs them");
  path("--comfyui", "DIR", paths.comfyui,
       "ComfyUI's folder: parts that are not given are looked up in its models/ and extra_model_paths.yaml");
}

void add_model_options(CLI::App& command, ModelPaths& paths, const char* model_help) {
  command.add_option("--model", paths.model, wrapped(model_help))->type_name("PATH")->group(kModelGroup);
  add_part_options(command, paths);
}

void add_request_options(CLI::App& command, AskedOptions& asked, const std::set<std::string>& without) {
  add_model_options(command, asked.paths,
                    "Checkpoint folder, single file of the transformer, or ORG/NAME[:FILE] that `eav pull` has fetched "
                    "[the demo that ships with eav]");
  command
      .add_option_function<std::string>(
          "--lora",
          [&](const std::string& v) {
            try {
              asked.paths.loras.push_back(Lora::parse(v));
            } catch (const Error& error) {
              throw CLI::ValidationError("--lora", error.what());
            }
          },
          wrapped("LoRA that changes the transformer, and its strength: style.safetensors:0.8 [1]; for one expert of a "
                  "model with two FILE:STRENGTH:high or low; may be given several times"))
      ->type_name("FILE[:STRENGTH]")
      ->group(kModelGroup)
      ->trigger_on_parse();
  command
      .add_option_function<std::string>(
          "--device", [&](const std::string& v) { asked.device = v; },
          "Device to compute on: cpu, cuda or cuda:N [cpu]")
      ->type_name("DEVICE")
      ->group(kModelGroup);
  add_whole(command, "--threads", "Threads on the CPU [as many as there are cores]", 1, 4096, [&](uint64_t v) {
    asked.threads = static_cast<int>(v);
  })->group(kModelGroup);
  // A word that the runtime reads, which is kept until it is known what it changes.
  const auto add_word = [&](const char* flag, const char* kind, auto read, std::optional<std::string>& to,
                            const char* help) {
    const auto set = [flag, read, &to](const std::string& v) {
      try {
        Runtime parsed;
        read(parsed, v);
      } catch (const Error& error) {
        throw CLI::ValidationError(flag, fmt::format("'{}' does not work: {}", v, error.what()));
      }
      to = v;
    };
    command.add_option_function<std::string>(flag, set, wrapped(help))->type_name(kind)->group(kModelGroup);
  };
  add_word(
      "--dtype", "TYPE", set_dtypes, asked.dtype,
      "Type to compute in: float32, bfloat16 or float16; parts may have their own, as in bfloat16,vae=float32 "
      "[auto: bfloat16 where the CPU multiplies it and the checkpoint is stored in 16 bits or fewer, else float32]");
  add_word(
      "--quantize", "TYPE", set_quantize, asked.quantize,
      "int8: blocks of transformer and text encoder are held and multiplied in it, on a CPU about twice as fast as "
      "bfloat16 and in half of the memory; parts may have their own, as in int8,text_encoder=none [none]");
  command
      .add_flag("--fast", asked.fast,
                wrapped("The types that this machine is fastest in, and --cache easy at the threshold that keeps the "
                        "demo's videos near (42 dB); what else is asked for counts before it"))
      ->group(kModelGroup);
  command
      .add_flag("--offload", asked.offload,
                "Load a model's blocks one at a time, each when it is used: slower, in little memory")
      ->group(kModelGroup);

  for (const auto& option : shared_options()) {
    if (without.contains(option.spec.name)) continue;
    if (option.spec.type == OptionSpec::Type::conditions)
      add_conditions(command, option, asked.settings);
    else
      add_option(command, option, asked.settings);
  }
}

}  // namespace eav
