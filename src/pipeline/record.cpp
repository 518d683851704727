#include "pipeline/record.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "pipeline/fingerprint.h"
#include "pipeline/json.h"
#include "text/base64.h"
#include "video/writer.h"
#include "weights/config.h"

namespace eav {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

Json conditions_json(const std::vector<Condition>& conditions) {
  auto list = Json::array();
  for (const auto& condition : conditions)
    list.push_back({{"file", condition.file.string()},
                    {"is_video", condition.is_video},
                    {"frame_index", nullable(condition.frame_index)},
                    {"strength", nullable(condition.strength)}});
  return list;
}

Json request_json(const Request& request) {
  const auto& enhance = request.enhance;
  return {{"prompt", request.prompt},
          {"negative_prompt", nullable(request.negative_prompt)},
          {"seed", nullable(request.seed)},
          {"width", nullable(request.width)},
          {"height", nullable(request.height)},
          {"frames", nullable(request.frames)},
          {"fps", nullable(request.fps)},
          {"steps", nullable(request.steps)},
          {"guidance", nullable(request.guidance)},
          {"true_guidance", nullable(request.true_guidance)},
          {"dynamic_guidance", request.dynamic_guidance},
          {"scheduler", nullable(request.scheduler)},
          {"flow_shift", nullable(request.flow_shift)},
          {"vae_tiling", request.vae_tiling ? Json(to_string(*request.vae_tiling)) : Json(nullptr)},
          {"vae_framewise", request.vae_framewise},
          {"guidance_rescale", nullable(request.guidance_rescale)},
          {"decode_timestep", nullable(request.decode_timestep)},
          {"decode_noise_scale", nullable(request.decode_noise_scale)},
          {"timesteps", request.timesteps},
          {"denoise_strength", nullable(request.denoise_strength)},
          {"image_cond_noise_scale", nullable(request.image_cond_noise_scale)},
          {"conditions", conditions_json(request.conditions)},
          {"image_fit", request.image_fit ? Json(to_string(*request.image_fit)) : Json(nullptr)},
          {"clean_prompt", request.clean_prompt},
          {"aesthetic_score", nullable(request.aesthetic_score)},
          {"motion_score", nullable(request.motion_score)},
          {"camera_motion", nullable(request.camera_motion)},
          {"loop", request.loop},
          {"latents_only", request.latents_only},
          {"enhance",
           {{"enabled", enhance.enabled},
            {"weight", nullable(enhance.weight)},
            {"adaptive", enhance.adaptive},
            {"start", enhance.start},
            {"end", enhance.end},
            {"layers", enhance.layers.str()},
            {"blocks", to_string(enhance.blocks)}}},
          {"init_latents", request.init_latents.string()}};
}

Json summary_json(const Trace& trace) {
  const auto scaled = std::ranges::count_if(trace.entries, [](const TraceEntry& e) { return e.gain > 1; });
  Json summary{{"token_frames", trace.token_frames}, {"measured", trace.entries.size()}, {"scaled", scaled}};
  if (!trace.entries.empty()) {
    const auto [least, most] = std::ranges::minmax(trace.entries, {}, &TraceEntry::gain);
    summary["gain"] = {least.gain, most.gain};
  }
  return summary;
}

// An object of a record; a field that nobody knows is an error, since it would silently not be done.
class Fields {
 public:
  Fields(const fs::path& file, const nlohmann::json& object, const std::set<std::string>& known) : json_(file, object) {
    for (const auto& [name, value] : object.items())
      if (!known.contains(name)) throw Error(fmt::format("{}: \"{}\" is no field of a record", file.string(), name));
  }
  template <class T>
  void read(const std::string& name, T& value) const {
    value = json_.get<T>(name, value);
  }
  template <class T>
  void read(const std::string& name, std::optional<T>& value) const {
    value = json_.optional<T>(name);
  }
  void read(const std::string& name, fs::path& value) const { value = json_.get<std::string>(name, ""); }
  void read(const std::string& name, std::optional<uint64_t>& value) const {
    if (const auto seed = json_.optional<int64_t>(name)) value = static_cast<uint64_t>(*seed);
  }
  std::string text(const std::string& name) const { return json_.get<std::string>(name, ""); }

 private:
  JsonFile json_;
};

std::vector<Condition> read_conditions(const fs::path& file, const nlohmann::json& list) {
  if (!list.is_array()) throw Error(fmt::format("{}: \"conditions\" is no list", file.string()));
  std::vector<Condition> conditions;
  for (const auto& item : list) {
    const Fields fields(file, item, {"file", "is_video", "frame_index", "strength"});
    auto& condition = conditions.emplace_back();
    fields.read("file", condition.file);
    fields.read("is_video", condition.is_video);
    fields.read("frame_index", condition.frame_index);
    fields.read("strength", condition.strength);
  }
  return conditions;
}

Request read_request(const fs::path& file, const nlohmann::json& json) {
  const Fields fields(file, json,
                      {"prompt",
                       "negative_prompt",
                       "seed",
                       "width",
                       "height",
                       "frames",
                       "fps",
                       "steps",
                       "guidance",
                       "true_guidance",
                       "dynamic_guidance",
                       "scheduler",
                       "flow_shift",
                       "vae_tiling",
                       "vae_framewise",
                       "guidance_rescale",
                       "decode_timestep",
                       "decode_noise_scale",
                       "timesteps",
                       "denoise_strength",
                       "image_cond_noise_scale",
                       "conditions",
                       "image_fit",
                       "clean_prompt",
                       "aesthetic_score",
                       "motion_score",
                       "camera_motion",
                       "loop",
                       "latents_only",
                       "enhance",
                       "init_latents"});
  Request request;
  fields.read("prompt", request.prompt);
  fields.read("negative_prompt", request.negative_prompt);
  fields.read("seed", request.seed);
  fields.read("width", request.width);
  fields.read("height", request.height);
  fields.read("frames", request.frames);
  fields.read("fps", request.fps);
  fields.read("steps", request.steps);
  fields.read("guidance", request.guidance);
  fields.read("dynamic_guidance", request.dynamic_guidance);
  fields.read("scheduler", request.scheduler);
  fields.read("true_guidance", request.true_guidance);
  fields.read("flow_shift", request.flow_shift);
  fields.read("vae_framewise", request.vae_framewise);
  fields.read("guidance_rescale", request.guidance_rescale);
  fields.read("decode_timestep", request.decode_timestep);
  fields.read("decode_noise_scale", request.decode_noise_scale);
  fields.read("timesteps", request.timesteps);
  fields.read("denoise_strength", request.denoise_strength);
  fields.read("image_cond_noise_scale", request.image_cond_noise_scale);
  if (json.contains("conditions")) request.conditions = read_conditions(file, json.at("conditions"));
  if (const auto fit = fields.text("image_fit"); !fit.empty()) request.image_fit = parse_image_fit(fit);
  fields.read("clean_prompt", request.clean_prompt);
  fields.read("aesthetic_score", request.aesthetic_score);
  fields.read("motion_score", request.motion_score);
  fields.read("camera_motion", request.camera_motion);
  fields.read("loop", request.loop);
  fields.read("latents_only", request.latents_only);
  if (const auto tiling = fields.text("vae_tiling"); !tiling.empty()) request.vae_tiling = parse_vae_tiling(tiling);
  fields.read("init_latents", request.init_latents);
  if (json.contains("enhance")) {
    const Fields enhance(file, json.at("enhance"),
                         {"enabled", "weight", "adaptive", "start", "end", "layers", "blocks"});
    enhance.read("enabled", request.enhance.enabled);
    enhance.read("weight", request.enhance.weight);
    enhance.read("adaptive", request.enhance.adaptive);
    enhance.read("start", request.enhance.start);
    enhance.read("end", request.enhance.end);
    if (const auto layers = enhance.text("layers"); !layers.empty()) request.enhance.layers = LayerSet::parse(layers);
    if (const auto blocks = enhance.text("blocks"); !blocks.empty())
      request.enhance.blocks = parse_enhance_blocks(blocks);
  }
  return request;
}

bool is_video(const fs::path& file) {
  auto suffix = file.extension().string();
  std::ranges::transform(suffix, suffix.begin(), [](unsigned char c) { return std::tolower(c); });
  return suffix == ".mp4" || suffix == ".webm";
}

}  // namespace

Record make_record(const ModelPaths& paths, const Generator& generator, const Request& request) {
  const auto absolute = [](const fs::path& path) {
    return path.empty() ? path : fs::absolute(path).lexically_normal();
  };
  Record record{{absolute(paths.model), absolute(paths.vae), absolute(paths.text_encoder)},
                generator.fingerprint(),
                generator.runtime(),
                environment(),
                request,
                "",
                {}};
  if (!request.init_latents.empty()) {
    record.request.init_latents = fs::absolute(request.init_latents).lexically_normal();
    record.init_latents = file_fingerprint(request.init_latents);
  }
  for (auto& condition : record.request.conditions) {
    condition.file = fs::absolute(condition.file).lexically_normal();
    record.conditions.push_back(file_fingerprint(condition.file));
  }
  return record;
}

std::string to_json(const Record& record, const Trace& trace, const Output::Seconds* seconds) {
  const auto& [version, torch, cpu] = record.environment;
  Json json{{"eav", version},
            {"torch", torch},
            {"cpu", cpu},
            {"device", record.runtime.device},
            {"dtype", to_string(record.runtime.dtype)},
            {"threads", record.runtime.threads},
            {"model", record.paths.model.string()},
            {"fingerprint", record.fingerprint},
            {"request", request_json(record.request)}};
  if (!record.paths.vae.empty()) json["vae"] = record.paths.vae.string();
  if (!record.paths.text_encoder.empty()) json["text_encoder"] = record.paths.text_encoder.string();
  if (!record.init_latents.empty()) json["init_latents_fingerprint"] = record.init_latents;
  if (!record.conditions.empty()) json["conditions_fingerprints"] = record.conditions;
  json["enhanced"] = summary_json(trace);
  if (seconds != nullptr)
    json["seconds"] = {
        {"text_encoder", seconds->text_encoder}, {"transformer", seconds->transformer}, {"vae", seconds->vae}};
  return json.dump(2) + "\n";
}

std::string to_json(const Trace& trace) {
  auto text = fmt::format("{{\"token_frames\": {}, \"weight\": {}, \"steps\": {}, \"layers\": {}, \"entries\": [",
                          trace.token_frames, Json(trace.weight).dump(), trace.steps, trace.layers);
  const auto add_list = [&](auto of_entry) {  // one a line: thousands of them stay readable
    const char* separator = "\n";
    for (const auto& entry : trace.entries) {
      text += separator + Json(of_entry(entry)).dump();
      separator = ",\n";
    }
    text += "\n]";
  };
  const auto any_has = [&](auto member) {
    return std::ranges::any_of(trace.entries, [=](const TraceEntry& e) { return !(e.*member).empty(); });
  };
  add_list([](const TraceEntry& e) { return Json{e.step, e.layer, e.cfi, e.gain}; });
  if (any_has(&TraceEntry::heads)) {
    text += ", \"heads\": [";
    add_list([](const TraceEntry& e) { return e.heads; });
  }
  if (trace.adaptive) {  // one for each entry
    text += ", \"weights\": [";
    add_list([](const TraceEntry& e) { return e.weight; });
  }
  if (any_has(&TraceEntry::map)) {
    text += ", \"maps\": [";
    add_list([](const TraceEntry& e) { return half_base64(e.map); });
  }
  return text + "}\n";
}

Trace read_trace(const fs::path& file) {
  const auto no_trace = [&](const std::string& why) {
    return Error(
        fmt::format("'{}' holds no trace of the enhancement, or a part of one: {}; --trace of eav generate "
                    "writes them",
                    file.string(), why));
  };
  if (!fs::is_regular_file(file)) throw Error(fmt::format("'{}': there is no such file", file.string()));
  std::ifstream in(file, std::ios::binary);
  const auto json = nlohmann::json::parse(in, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) throw no_trace("it is no complete JSON");
  for (const auto* field : {"token_frames", "steps", "layers"})
    if (!json.is_object() || !json.contains(field) || !json[field].is_number_unsigned())
      throw no_trace(fmt::format("\"{}\" is missing or no whole number", field));
  if (!json.contains("weight") || !json["weight"].is_number()) throw no_trace("\"weight\" is missing or no number");
  if (!json.contains("entries") || !json["entries"].is_array()) throw no_trace("\"entries\" is missing or no list");
  Trace trace{json["token_frames"], json["weight"], json.contains("weights"), json["steps"], json["layers"], {}};
  for (const auto& entry : json["entries"]) {
    const bool numbers = entry.is_array() && entry.size() == 4 &&
                         std::ranges::all_of(entry, [](const auto& value) { return value.is_number(); });
    if (!numbers) throw no_trace("an entry is not [step, layer, CFI, gain]");
    trace.entries.push_back({entry[0], entry[1], entry[2], entry[3], trace.weight});
    if (const auto& e = trace.entries.back();
        e.step < 0 || e.step >= trace.steps || e.layer < 0 || e.layer >= trace.layers)
      throw no_trace(fmt::format("an entry is of step {} and layer {}", e.step, e.layer));
  }
  const auto each = [&](const char* field, auto read) {
    if (!json.contains(field)) return;
    const auto& list = json[field];
    if (!list.is_array() || list.size() != trace.entries.size())
      throw no_trace(fmt::format("\"{}\" does not have one for each of {} entries", field, trace.entries.size()));
    for (size_t i = 0; i < list.size(); ++i)
      if (!read(list[i], trace.entries[i])) throw no_trace(fmt::format("number {} of \"{}\" is malformed", i, field));
  };
  each("weights", [](const auto& value, TraceEntry& entry) {
    if (value.is_number()) entry.weight = value;
    return value.is_number();
  });
  each("heads", [&](const auto& value, TraceEntry& entry) {
    if (!value.is_array() || !std::ranges::all_of(value, [](const auto& head) { return head.is_number(); }))
      return false;
    entry.heads = value.template get<std::vector<double>>();
    return entry.heads.size() == trace.entries[0].heads.size();
  });
  each("maps", [&](const auto& value, TraceEntry& entry) {
    if (!value.is_string()) return false;
    auto map = from_half_base64(value.template get<std::string>());
    if (!map || map->empty() || std::ssize(*map) != trace.token_frames * trace.token_frames) return false;
    entry.map = std::move(*map);
    return true;
  });
  return trace;
}

Record read_record(const fs::path& file) {
  const auto no_record = [&](const char* why) {
    return Error(fmt::format("'{}' holds no record of a generated video: {}", file.string(), why));
  };
  nlohmann::json json;
  if (is_video(file)) {
    const auto text = read_metadata(file);
    if (text.empty()) throw no_record("its metadata has no comment");
    json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  } else {
    json = JsonFile(file).json();
  }
  if (!json.is_object() || !json.contains("request")) throw no_record("there is no \"request\" in it");

  const Fields fields(
      file, json,
      {"eav", "torch", "cpu", "device", "dtype", "threads", "model", "vae", "text_encoder", "fingerprint", "request",
       "init_latents_fingerprint", "conditions_fingerprints", "enhanced", "seconds"});
  Record record;
  record.paths = {fields.text("model"), fields.text("vae"), fields.text("text_encoder")};
  record.fingerprint = fields.text("fingerprint");
  record.environment = {fields.text("eav"), fields.text("torch"), fields.text("cpu")};
  record.init_latents = fields.text("init_latents_fingerprint");
  fields.read("conditions_fingerprints", record.conditions);
  fields.read("device", record.runtime.device);
  if (const auto dtype = fields.text("dtype"); !dtype.empty()) record.runtime.dtype = parse_dtype(dtype);
  int64_t threads = 0;
  fields.read("threads", threads);
  if (threads < 0 || threads > 4096)
    throw Error(fmt::format("{}: \"threads\" is {}, expected 1 to 4096", file.string(), threads));
  record.runtime.threads = static_cast<int>(threads);
  record.request = read_request(file, json.at("request"));
  return record;
}

std::vector<std::string> differences(const Record& then, const Record& now) {
  std::vector<std::string> lines;
  const auto compare = [&](const std::string& what, const std::string& recorded, const std::string& here) {
    if (!recorded.empty() && recorded != here)
      lines.push_back(fmt::format("{} is {}, the record was made with {}: the video may differ", what, here, recorded));
  };
  compare("eav", then.environment.version, now.environment.version);
  compare("PyTorch", then.environment.torch, now.environment.torch);
  compare("the CPU", then.environment.cpu, now.environment.cpu);
  compare("the device", then.runtime.device, now.runtime.device);
  if (then.runtime.dtype != Dtype::automatic)
    compare("the type", to_string(then.runtime.dtype), to_string(now.runtime.dtype));
  if (then.runtime.threads != 0)
    compare("the number of threads", std::to_string(then.runtime.threads), std::to_string(now.runtime.threads));
  compare("the model's fingerprint", then.fingerprint, now.fingerprint);
  compare("the fingerprint of the initial latents", then.init_latents, now.init_latents);
  for (size_t i = 0; i < std::min(then.conditions.size(), now.conditions.size()); ++i)
    compare(fmt::format("the fingerprint of '{}'", now.request.conditions[i].file.string()), then.conditions[i],
            now.conditions[i]);
  return lines;
}

}  // namespace eav
