// A part of a checkpoint, such as its transformer: where it lies, how it is held, what it takes, and the model that is
// built of it when it is first used.
#pragma once
#include <ATen/ATen.h>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "eav/generator.h"
#include "weights/config.h"
#include "weights/patches.h"
#include "weights/placement.h"
#include "weights/weights.h"

namespace eav {

// What is made when it is first used.
template <class T>
class Lazy {
 public:
  explicit Lazy(std::function<T()> make) : make_(std::move(make)) {}

  const T& operator*() const {
    if (!value_) value_ = make_();
    return *value_;
  }
  const T* operator->() const { return &**this; }
  bool is_made() const { return value_.has_value(); }

 private:
  std::function<T()> make_;
  mutable std::optional<T> value_;
};

// The keys of a part's file that matter beside the model's own.
struct PartKeys {
  std::vector<UnneededKey> unneeded = {};  // known, and not read
  std::vector<std::string> blocks = {};  // prefixes such as "transformer_blocks.": blocks that offloading loads singly
  bool float32 = false;                  // the part computes in it whatever the others do, unless asked otherwise
  const KeyTable* original =
      nullptr;           // the model's own program's names, which LoRAs may have, and files that are written
  int64_t channels = 0;  // the model's, in which rows of those are counted
};

// Where a part lies: what is set and where its tensors are.
struct PartSource {
  std::string name;  // "transformer"
  JsonFile config;   // as diffusers or transformers write it
  CheckpointSource tensors;

  // How the files with weights begin: those of diffusers' models and those of transformers'.
  static constexpr const char* kDiffusersStem = "diffusion_pytorch_model";
  static constexpr const char* kTransformersStem = "model";
  // In a folder with config.json and weights. Throws eav::Error.
  static PartSource of_diffusers(const std::filesystem::path& dir) {
    return {dir.filename().string(), JsonFile(dir / "config.json"), {.path = dir, .stem = kDiffusersStem}};
  }
  static PartSource of_transformers(const std::filesystem::path& dir, std::string name) {
    return {std::move(name), JsonFile(dir / "config.json"), {.path = dir, .stem = kTransformersStem}};
  }
  // The same part, whose file may also have the keys of another writer, by `names`, which leave this project's alone.
  PartSource named(OriginalNames names) const {
    auto source = *this;
    if (!source.tensors.rename) source.tensors.rename = std::move(names);
    return source;
  }
};

// What the table of a part's tensors tells.
PartInfo describe(const PartSource& source, const Checkpoint& tensors);

// All of a part but its model.
class PartFiles {
 public:
  PartFiles(PartSource source, PartKeys keys);
  PartFiles(const PartFiles&) = default;
  PartFiles& operator=(const PartFiles&) = delete;

  const std::string& name() const { return source_.name; }
  const std::filesystem::path& files() const { return source_.tensors.path; }  // the folder or the file

  // How its weights are held from the next opening on: as all parts' are, but for a type of its own.
  void place(const Placement& of_all);
  const Placement& placement() const { return placement_; }
  // What is added to its weights from the next opening on.
  void patch(std::shared_ptr<const Patches> patches) { patches_ = std::move(patches); }
  virtual bool is_open() const = 0;
  virtual void release() = 0;
  // Throws eav::Error where one of its files has become shorter since it was first looked at.
  void check_whole() const {
    if (table_->is_made()) tensors().check_whole();
  }
  // What the last opening has to say, in one line, given out once; empty where nothing.
  std::string take_warning() const { return std::exchange(warning_, {}); }

  // Its tensors, each in the type that its file has it in. Throws eav::Error as Checkpoint::open does.
  const Checkpoint& tensors() const { return **table_; }
  const PartKeys& keys() const { return keys_; }
  // What the table of its tensors tells. Throws eav::Error as Checkpoint::open does.
  PartInfo describe() const { return eav::describe(source_, tensors()); }
  // The floating point type that most of its parameters are stored in; bfloat16 where they are packed.
  at::ScalarType stored_type() const;
  // The bytes of its weights that are in memory while it works: all but the unneeded ones; packed
  // matrices as the file has them; where blocks are loaded singly, they count as much as the largest.
  int64_t held_bytes() const;

 protected:
  ~PartFiles() = default;
  // Calls build(weights), then throws eav::Error where weights are left over beside those that it took.
  template <class Build>
  auto open(const Build& build) const {
    // A plan reads the table of tensors alone, which is at hand.
    auto policy = placement_.policy();
    policy.patches = patches_;
    const auto checkpoint =
        policy.device.is_meta() ? tensors().with(policy) : Checkpoint::open(source_.tensors, policy);
    auto model = build(Weights(checkpoint));
    if (!policy.probe) warning_ = checkpoint.check_all_read(keys_.unneeded);
    held_ = checkpoint.held();
    return model;
  }

 private:
  PartSource source_;
  PartKeys keys_;
  Placement placement_;
  std::shared_ptr<const Patches> patches_;
  std::shared_ptr<const Lazy<Checkpoint>> table_;  // of its tensors, read once for all copies
  mutable std::string warning_;
  mutable std::map<std::string, int64_t> held_;  // bytes of matrices, where they are quantised
};

template <class Model>
class Part final : public PartFiles {
 public:
  using Build = std::function<Model(const Weights& w)>;

  // `build` makes the model.
  Part(PartSource source, PartKeys keys, Build build)
      : PartFiles(std::move(source), std::move(keys)), build_(std::move(build)) {}

  // A copy is yet to be opened.
  Part(const Part& other) : PartFiles(other), build_(other.build_) {}

  // The model, which the first use opens. Throws eav::Error when weights are missing, misshapen or left over.
  const Model& operator*() const {
    if (!model_) model_.emplace(open(build_));
    return *model_;
  }
  const Model* operator->() const { return &**this; }
  bool is_open() const override { return model_.has_value(); }
  void release() override { model_.reset(); }

 private:
  Build build_;
  mutable std::optional<Model> model_;
};

// Throws when the transformer takes other latents or embeddings than the part `other` gives: numbers of channels,
// `what` in words.
void check_agree(const std::filesystem::path& model, const std::string& what, int64_t transformer,
                 const std::string& other, int64_t theirs);

}  // namespace eav
