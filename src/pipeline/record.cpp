#include "eav/record.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/json.h"
#include "base/regular_file.h"
#include "eav/fingerprint.h"
#include "eav/video.h"
#include "options/json.h"
#include "text/base64.h"
#include "weights/config.h"

namespace eav {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// The options of the enhancement lie in an object of their own: "enhance_start" as "start" in "enhance".
constexpr std::string_view kEnhance = "enhance_";

Json request_json(const Request& request) {
  const auto& enhance = request.enhance;
  Json json{{"prompt", request.prompt},
            {"negative_prompt", nullable(request.negative_prompt)},
            {"seed", nullable(request.seed)},
            {"width", nullable(request.width)},
            {"height", nullable(request.height)},
            {"frames", nullable(request.frames)},
            {"fps", nullable(request.fps)},
            {"steps", nullable(request.steps)},
            {"guidance", nullable(request.guidance)},
            {"scheduler", nullable(request.scheduler)}};
  Json enhancement{{"enabled", enhance.enabled},   {"weight", nullable(enhance.weight)},
                   {"adaptive", enhance.adaptive}, {"start", enhance.start},
                   {"end", enhance.end},           {"layers", enhance.layers.str()}};
  for (const auto& [name, value] : request.settings)
    if (name.starts_with(kEnhance))
      enhancement[name.substr(kEnhance.size())] = to_json(value);
    else
      json[name] = to_json(value);
  json["latents_only"] = request.latents_only;
  json["enhance"] = std::move(enhancement);
  json["init_latents"] = request.init_latents.string();
  return json;
}

Json loras_json(const std::vector<Lora>& loras) {
  auto list = Json::array();
  for (const auto& lora : loras) {
    list.push_back({{"file", lora.file.string()}, {"strength", lora.strength.value_or(1)}});
    if (lora.expert != Lora::Expert::both) list.back()["expert"] = to_string(lora.expert);
  }
  return list;
}

std::vector<Lora> read_loras(const fs::path& file, const nlohmann::json& list) {
  if (!list.is_array()) throw Error(fmt::format("{}: \"loras\" is no list", file.string()));
  std::vector<Lora> loras;
  for (const auto& json : list) {
    const JsonFile fields(file, json);
    for (const auto& [name, value] : json.items())
      if (name != "file" && name != "strength" && name != "expert")
        throw Error(fmt::format("{}: \"{}\" is no field of a LoRA", file.string(), name));
    auto& lora = loras.emplace_back();
    lora.file = fields.get<std::string>("file");
    lora.strength = fields.get<double>("strength", 1);
    if (fields.has("expert")) try {
        lora.expert = parse_expert(fields.get<std::string>("expert"));
      } catch (const Error& error) {
        throw Error(fmt::format("{}: {}", file.string(), error.what()));
      }
  }
  return loras;
}

Json summary_json(const Trace& trace) {
  const auto scaled = std::ranges::count_if(trace.entries, [](const TraceEntry& e) { return e.gain > 1; });
  Json summary{{"token_frames", trace.token_frames}, {"measured", trace.entries.size()}, {"scaled", scaled}};
  if (!trace.reused_steps.empty()) summary["computed_steps"] = trace.computed_steps();
  if (!trace.entries.empty()) {
    const auto [least, most] = std::ranges::minmax(trace.entries, {}, &TraceEntry::gain);
    summary["gain"] = {least.gain, most.gain};
  }
  return summary;
}

// Sets the option `name` to what stands under `field`; null is as good as nothing.
void read_option(const fs::path& file, Request& request, const std::string& field, const std::string& name,
                 const nlohmann::json& value) {
  const auto* option = find_option(name);
  if (option == nullptr || !option->spec.recorded)
    throw Error(fmt::format("{}: \"{}\" is no field of a record", file.string(), field));
  if (value.is_null()) return;
  try {
    request.set(name, value_of_json(option->spec, value));
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}", file.string(), error.what()));
  }
}

Request read_request(const fs::path& file, const nlohmann::json& json) {
  if (!json.is_object()) throw Error(fmt::format("{}: \"request\" is no object", file.string()));
  Request request;
  for (const auto& [field, value] : json.items()) {
    if (field != "enhance") {
      read_option(file, request, field, field, value);
      continue;
    }
    if (!value.is_object()) throw Error(fmt::format("{}: \"enhance\" is no object", file.string()));
    for (const auto& [part, of_part] : value.items()) {
      if (part == "adaptive") {
        if (!of_part.is_boolean()) throw Error(fmt::format("{}: \"adaptive\" is not true or false", file.string()));
      } else {
        read_option(file, request, part, part == "enabled" ? "enhance" : std::string(kEnhance) + part, of_part);
      }
    }
    request.enhance.adaptive = value.value("adaptive", request.enhance.adaptive);
  }
  return request;
}

const std::vector<Condition>& conditions_of(const Request& request) {
  return std::get<std::vector<Condition>>(request.settings.at("conditions"));
}

// Calls visit(option, path) for each path of a record.
void each_path(Record& record, const std::function<void(const char*, fs::path&)>& visit) {
  const auto visit_one = [&](const char* option, fs::path& path) {
    if (!path.empty()) visit(option, path);
  };
  for (const auto& [option, member] : ModelPaths::members()) visit_one(option.c_str(), record.paths.*member);
  for (auto& lora : record.paths.loras) visit_one("lora", lora.file);
  visit_one("init_latents", record.request.init_latents);
  if (const auto found = record.request.settings.find("conditions"); found != record.request.settings.end())
    for (auto& condition : std::get<std::vector<Condition>>(found->second)) visit_one("conditions", condition.file);
}

// Files that the record in a video names lie beside it, or are missing.
void find_beside(const fs::path& video, Record& record) {
  each_path(record, [&](const char* option, fs::path& path) {
    if (path != path.filename() || path == "." || path == "..") return;
    std::error_code ignored;
    if (const auto beside = video.parent_path() / path; fs::exists(beside, ignored))
      path = beside;
    else if (record.missing.empty() || record.missing.back() != option)
      record.missing.emplace_back(option);
  });
}

bool is_video(const fs::path& file) {
  auto suffix = file.extension().string();
  std::ranges::transform(suffix, suffix.begin(), [](unsigned char c) { return std::tolower(c); });
  return suffix == ".mp4" || suffix == ".webm";
}

}  // namespace

Record make_record(const Generator& generator, const Request& request) {
  const auto absolute = [](const fs::path& path) {
    return path.empty() ? path : fs::absolute(path).lexically_normal();
  };
  Record record{generator.paths(),
                generator.fingerprint(),
                generator.runtime(),
                environment(generator.runtime().device),
                request,
                "",
                {}};
  for (const auto& [option, member] : ModelPaths::members()) record.paths.*member = absolute(record.paths.*member);
  for (auto& lora : record.paths.loras) lora.file = absolute(lora.file);
  if (!request.init_latents.empty()) {
    record.request.init_latents = absolute(request.init_latents);
    record.init_latents = file_fingerprint(request.init_latents);
  }
  if (const auto found = record.request.settings.find("conditions"); found != record.request.settings.end())
    for (auto& condition : std::get<std::vector<Condition>>(found->second)) {
      condition.file = absolute(condition.file);
      record.conditions.push_back(file_fingerprint(condition.file));
    }
  return record;
}

Record without_folders(Record record) {
  each_path(record, [](const char*, fs::path& path) {
    if (!path.has_filename()) path = path.parent_path();
    const auto folder = path.parent_path(), cached = folder.parent_path().filename();
    path = folder.filename() == "snapshots" && cached.string().starts_with("models--") ? cached : path.filename();
  });
  return record;
}

Request request_for(const Generator& generator, const Record& record) {
  // What records held of every family while all options stood in one list.
  static const Settings kOldDefaults{{"dynamic_guidance", false},
                                     {"vae_framewise", false},
                                     {"vae_tiling", "off"},
                                     {"image_fit", "stretch"},
                                     {"timesteps", std::vector<double>()},
                                     {"conditions", std::vector<Condition>()},
                                     {"clean_prompt", true},
                                     {"loop", int64_t{1}},
                                     {"enhance_blocks", "all"}};
  const auto options = generator.options();
  auto request = record.request;
  std::erase_if(request.settings, [&](const auto& setting) {
    const auto old = kOldDefaults.find(setting.first);
    return old != kOldDefaults.end() && old->second == setting.second &&
           std::ranges::find(options, setting.first, &OptionSpec::name) == options.end();
  });
  return request;
}

std::string to_json(const Record& record, const Trace& trace, const Output::Seconds* seconds) {
  const auto& [version, torch, cpu, gpu] = record.environment;
  Json json{{"eav", version},
            {"torch", torch},
            {"cpu", cpu},
            {"device", record.runtime.device},
            {"dtype", dtypes_of(record.runtime)},
            {"threads", record.runtime.threads},
            {"model", record.paths.model.string()},
            {"fingerprint", record.fingerprint},
            {"request", request_json(record.request)}};
  if (!gpu.empty()) json["gpu"] = gpu;
  if (const auto quantize = quantize_of(record.runtime); quantize != "none") json["quantize"] = quantize;
  for (const auto& [option, member] : ModelPaths::members())
    if (!(record.paths.*member).empty()) json[option] = (record.paths.*member).string();
  if (!record.paths.loras.empty()) json["loras"] = loras_json(record.paths.loras);
  if (!record.init_latents.empty()) json["init_latents_fingerprint"] = record.init_latents;
  if (!record.conditions.empty()) json["conditions_fingerprints"] = record.conditions;
  json["enhanced"] = summary_json(trace);
  if (seconds != nullptr)
    json["seconds"] = {
        {"text_encoder", seconds->text_encoder}, {"transformer", seconds->transformer}, {"vae", seconds->vae}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";  // names of files need not be UTF-8
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
  if (!trace.reused_steps.empty()) {
    text += ", \"reused_steps\": " + Json(trace.reused_steps).dump() + ", \"reused\": [";
    add_list([](const TraceEntry& e) { return e.reused; });
  }
  if (!trace.experts.empty()) text += ", \"experts\": " + Json(trace.experts).dump();
  return text + "}\n";
}

Trace read_trace(const fs::path& file) { return parse_trace(read_file(file), file); }

Trace parse_trace(std::string_view text, const fs::path& file) {
  const auto no_trace = [&](const std::string& why) {
    return Error(
        fmt::format("'{}' holds no trace of the enhancement, or a part of one: {}; --trace of eav generate "
                    "writes them",
                    file.string(), why));
  };
  const auto json = parse_json(text);
  if (json.is_discarded()) throw no_trace("it is no complete JSON");
  // More than any run has, and little enough for a picture of it.
  for (const auto& [field, most] : {std::pair{"token_frames", 4096}, {"steps", 10000}, {"layers", 1000}}) {
    if (!json.is_object() || !json.contains(field) || !json[field].is_number_unsigned())
      throw no_trace(fmt::format("\"{}\" is missing or no whole number", field));
    if (json[field].get<uint64_t>() > static_cast<uint64_t>(most))
      throw no_trace(fmt::format("\"{}\" is {}, expected at most {}", field, json[field].get<uint64_t>(), most));
  }
  if (!json.contains("weight") || !json["weight"].is_number()) throw no_trace("\"weight\" is missing or no number");
  if (!json.contains("entries") || !json["entries"].is_array()) throw no_trace("\"entries\" is missing or no list");
  Trace trace{json["token_frames"], json["weight"], json.contains("weights"), json["steps"], json["layers"], {}};
  for (const auto& entry : json["entries"]) {
    const bool numbers = entry.is_array() && entry.size() == 4 && entry[0].is_number_integer() &&
                         entry[1].is_number_integer() && entry[2].is_number() && entry[3].is_number();
    if (!numbers) throw no_trace("an entry is not [step, layer, CFI, gain]");
    trace.entries.push_back({entry[0], entry[1], entry[2], entry[3], trace.weight});
    if (const auto& e = trace.entries.back();
        e.step < 0 || e.step >= trace.steps || e.layer < 0 || e.layer >= trace.layers)
      throw no_trace(fmt::format("an entry is of step {} and layer {}", e.step, e.layer));
  }
  if (json.contains("experts")) {
    const auto& experts = json["experts"];
    if (!experts.is_array() || experts.size() != static_cast<size_t>(trace.steps) ||
        !std::ranges::all_of(experts, [](const auto& e) { return e == 1 || e == 2; }))
      throw no_trace("\"experts\" is not 1 or 2 for each step");
    trace.experts = experts.get<std::vector<int64_t>>();
  }
  if (json.contains("reused_steps")) {
    const auto& steps = json["reused_steps"];
    const auto is_step = [&](const auto& e) {
      return e.is_number_unsigned() && e.template get<uint64_t>() < static_cast<uint64_t>(trace.steps);
    };
    if (!steps.is_array() || steps.size() > static_cast<size_t>(trace.steps) || !std::ranges::all_of(steps, is_step))
      throw no_trace("\"reused_steps\" is no list of steps");
    trace.reused_steps = steps.get<std::vector<int64_t>>();
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
  each("reused", [](const auto& value, TraceEntry& entry) {
    if (value.is_boolean()) entry.reused = value;
    return value.is_boolean();
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

namespace {

Record record_of(const nlohmann::json& json, const fs::path& file) {
  if (!json.is_object() || !json.contains("request"))
    throw Error(fmt::format("'{}' holds no record of a generated video: there is no \"request\" in it", file.string()));

  static const std::set<std::string> kFields{"eav",
                                             "torch",
                                             "cpu",
                                             "gpu",
                                             "device",
                                             "dtype",
                                             "quantize",
                                             "threads",
                                             "loras",
                                             "fingerprint",
                                             "request",
                                             "init_latents_fingerprint",
                                             "conditions_fingerprints",
                                             "model",
                                             "enhanced",
                                             "seconds"};
  const auto is_path = [](const std::string& name) {
    return std::ranges::any_of(ModelPaths::members(), [&](const auto& member) { return member.first == name; });
  };
  for (const auto& [name, value] : json.items())
    if (!kFields.contains(name) && !is_path(name))
      throw Error(fmt::format("{}: \"{}\" is no field of a record", file.string(), name));
  const JsonFile fields(file, json);
  const auto text = [&](const char* name) { return fields.get<std::string>(name, ""); };
  Record record;
  for (const auto& [option, member] : ModelPaths::members()) record.paths.*member = text(option.c_str());
  if (fields.has("loras")) record.paths.loras = read_loras(file, json.at("loras"));
  record.fingerprint = text("fingerprint");
  record.environment = {text("eav"), text("torch"), text("cpu"), text("gpu")};
  record.init_latents = text("init_latents_fingerprint");
  record.conditions = fields.get<std::vector<std::string>>("conditions_fingerprints", {});
  record.runtime.device = fields.get<std::string>("device", record.runtime.device);
  try {
    if (const auto dtype = text("dtype"); !dtype.empty()) set_dtypes(record.runtime, dtype);
    if (const auto quantize = text("quantize"); !quantize.empty()) set_quantize(record.runtime, quantize);
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}", file.string(), error.what()));
  }
  const auto threads = fields.get<int64_t>("threads", 0);
  if (threads < 0 || threads > 4096)
    throw Error(fmt::format("{}: \"threads\" is {}, expected 1 to 4096", file.string(), threads));
  record.runtime.threads = static_cast<int>(threads);
  record.request = read_request(file, json.at("request"));
  return record;
}

}  // namespace

Record parse_record(std::string_view json, const fs::path& name) { return record_of(parse_json(json), name); }

Record read_record(const fs::path& file) {
  if (!is_video(file)) return record_of(JsonFile(file).json(), file);
  const auto text = read_metadata(file);
  if (text.empty())
    throw Error(fmt::format("'{}' holds no record of a generated video: its metadata has no comment", file.string()));
  auto record = parse_record(text, file);
  find_beside(file, record);
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
  compare("the GPU", then.environment.gpu, now.environment.gpu);
  compare("the device", then.runtime.device, now.runtime.device);
  if (then.runtime.dtype != Dtype::automatic) {
    compare("the type", dtypes_of(then.runtime), dtypes_of(now.runtime));
    compare("the quantisation", quantize_of(then.runtime), quantize_of(now.runtime));
  }
  if (then.runtime.threads != 0)
    compare("the number of threads", std::to_string(then.runtime.threads), std::to_string(now.runtime.threads));
  compare("the model's fingerprint", then.fingerprint, now.fingerprint);
  compare("the fingerprint of the initial latents", then.init_latents, now.init_latents);
  for (size_t i = 0; i < std::min(then.conditions.size(), now.conditions.size()); ++i)
    compare(fmt::format("the fingerprint of '{}'", conditions_of(now.request)[i].file.string()), then.conditions[i],
            now.conditions[i]);
  return lines;
}

}  // namespace eav
