// A checkpoint's tensors by name, and the cursor through which layers take theirs.
#pragma once
#include <ATen/ATen.h>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "eav/request.h"
#include "weights/original_names.h"
#include "weights/packed.h"
#include "weights/safetensors.h"

namespace eav {

struct Patch;  // weights/patches.h
class Patches;

// For measuring a model that is not run as a whole: of each list of blocks the first alone is loaded, and the seconds
// of its runs are noted, by the list's prefix, such as "transformer_blocks.".
struct BlockProbe {
  struct Blocks {
    int64_t count = 0;  // of the whole model
    std::vector<double> seconds = {};
  };
  std::map<std::string, Blocks> lists = {};
};

// How tensors are placed in memory. Layers compute in the type of their input; see nn/linear.h.
struct LoadPolicy {
  at::ScalarType dtype =
      at::kFloat;  // floating point tensors are held in this type; those already in it, and aligned, are not copied
  at::Device device = at::kCPU;
  bool offload = false;                         // blocks of a model are loaded when they are used; see weights/blocks.h
  std::shared_ptr<const Patches> patches = {};  // what is added to tensors that are loaded; none: nothing
  Quantize quantize = Quantize::none;           // of matrices that may be: see Weights::Rounding
  std::shared_ptr<BlockProbe> probe = {};       // none: models are loaded whole
};

// A key that a family knows and does not read, and why; `pattern` ends in '*' to match every key that starts so.
struct UnneededKey {
  std::string pattern;
  std::string reason;
  bool matches(const std::string& key) const;
};

// Where the tensors of one part of a pipeline lie: in a folder of their own, or in a file, perhaps with other parts'
// and under other names.
struct CheckpointSource {
  std::filesystem::path path;  // the folder, the file, or the index of its shards (.json)
  std::string stem{};          // how names of the folder's files begin
  OriginalNames rename{};      // of keys of a file: nothing for those of another part; unset: they are the part's
  std::vector<CheckpointSource> others{};  // files with more of the part
};

// Tensors by key that are on their device already, in the types of their files.
using StagedTensors = std::map<std::string, Tensor>;

// The tensors of one part of a pipeline: a single .safetensors file or the shards that an index lists.
class Checkpoint {
 public:
  // Opens the file, or the shards, that find_weight_files() finds. Throws eav::Error.
  static Checkpoint open(const std::filesystem::path& dir, const std::string& stem, LoadPolicy policy);
  // Opens a folder as above, or the tensors of files that are the part's, by its names for them.
  static Checkpoint open(const CheckpointSource& source, LoadPolicy policy);
  // The same files, of which nothing is read yet, with another policy.
  Checkpoint with(const LoadPolicy& policy) const;

  bool has(const std::string& key) const;
  // The tensor in the policy's type and device, and marked as read; on the meta device nothing is read. Throws when it
  // is missing or, where `shape` is not empty, shaped otherwise (-1 matches any length). `dtype` is another type than
  // the policy's; what is `staged` is not read again.
  Tensor load(const std::string& key, std::span<const int64_t> shape = {}, std::optional<at::ScalarType> dtype = {},
              const StagedTensors* staged = nullptr) const;
  // The same with what the policy's patches add to it, in float32. Nothing is added where there are none.
  Tensor load_patched(const std::string& key, std::span<const int64_t> shape, std::optional<at::ScalarType> dtype,
                      const StagedTensors* staged) const;
  const std::vector<Patch>* patches(const std::string& key) const;
  // The type that a matrix is held in: the policy's; for the CPU and float32 that of the file, where this has 16 bits
  // and nothing is added: products widen a few rows at a time. Small ones are widened once.
  at::ScalarType matrix_type(const std::string& key) const;
  // Checks like load(), but reads nothing: a tensor of shape and type alone.
  Tensor describe(const std::string& key, std::span<const int64_t> shape = {}) const;
  // A tensor whose numbers the file packs, on the policy's device, as a matrix [shape[0], rest]: its bytes lie in the
  // file itself on the CPU. Nothing where load() gives what is stored, or where blocks reach across rows. Checks and
  // marks as load() does; what is `described` has a shape alone.
  std::optional<Packed> load_packed(const std::string& key, std::span<const int64_t> shape,
                                    const StagedTensors* staged = nullptr, bool described = false) const;
  // Whether its rows stand in another order in the file.
  bool reorders(const std::string& key) const { return order_.contains(key); }
  // Calls visit(key, file, entry) for every tensor whose key starts with `prefix`.
  template <class Visit>
  void each_below(const std::string& prefix, const Visit& visit) const {
    for (auto it = index_.lower_bound(prefix); it != index_.end() && it->first.starts_with(prefix); ++it)
      visit(it->first, files_[it->second.first], it->second.second);
  }
  // Says that a matrix, or a part of it, is held in so many bytes, other than the policy and its file tell.
  void hold(const std::string& key, int64_t bytes) const { held_[key] += bytes; }
  // What was said, of all parts together.
  const std::map<std::string, int64_t>& held() const { return held_; }
  // Lets the system drop the pages of every tensor whose key starts with `prefix`.
  void forget(const std::string& prefix) const;
  // Throws eav::Error where one of its files has become shorter.
  void check_whole() const {
    for (const auto& file : files_) file.check_whole();
  }
  // Looks for tensors that were never read and that no pattern of `unneeded` matches; call it after a model is built.
  // Throws when one lies beside others that were read, as in "decoder."; of the rest it returns a warning, empty where
  // there are none. Throws as well where a block lacks the bias of a layer, or its weight, that other blocks have.
  std::string check_all_read(std::span<const UnneededKey> unneeded = {}) const;

  // The free-form strings of its file, or of the first of several.
  const std::map<std::string, std::string>& metadata() const { return files_.front().metadata(); }
  const std::vector<TensorFile>& files() const { return files_; }
  const std::filesystem::path& dir() const { return dir_; }
  const LoadPolicy& policy() const { return policy_; }
  // Every key with its place and shape, for `eav inspect` and memory plans.
  const std::map<std::string, std::pair<size_t, TensorEntry>>& index() const { return index_; }

 private:
  // Takes the tensors that `source` holds.
  void add(const CheckpointSource& source);
  void add(const std::string& original, size_t file, const TensorEntry& entry, const OriginalNames& rename);
  // Rows of the file, or their bytes, in this project's order.
  Tensor in_order(const std::string& key, const Tensor& rows) const;
  void check_blocks_are_alike() const;
  struct Found {
    const TensorFile* file;
    TensorEntry entry;
  };
  // Throws as load() does, and marks the tensor as read.
  Found find(const std::string& key, std::span<const int64_t> shape) const;
  // How the numbers of the weight `key` are packed, and what they are multiplied by; marks what tells it as read.
  struct Scaling {
    std::optional<Packing> packing;
    std::optional<Tensor> scale = {};
    int64_t rotated = 0;
  };
  Scaling scaling_of(const std::string& key, const Found& found) const;
  // The bytes of `rows` rows, wherever they are to be.
  Tensor bytes_of(const std::string& key, const Found& found, int64_t rows, const StagedTensors* staged,
                  bool described) const;

  std::filesystem::path dir_;
  std::string name_;  // the file or index file, for messages
  LoadPolicy policy_;
  std::vector<TensorFile> files_;
  std::map<std::string, std::pair<size_t, TensorEntry>> index_;  // key -> file, entry
  // How rows of a tensor come into this project's order: `first` of the file's before the others, or, where there are
  // `heads`, the first half of a head's rows before the second, which lie beside each other in pairs.
  struct RowOrder {
    int64_t first = 0, heads = 0;
  };
  std::map<std::string, RowOrder> order_;
  mutable std::set<std::string> read_;
  mutable std::map<std::string, int64_t> held_;
};

// A view of a checkpoint below a prefix: `w / "attn1" / "to_q"`. The checkpoint must outlive it.
class Weights {
 public:
  explicit Weights(const Checkpoint& checkpoint, std::string prefix = "")
      : checkpoint_(&checkpoint), prefix_(std::move(prefix)) {}

  Weights operator/(const std::string& name) const {
    auto below = *this;
    below.prefix_ += name + ".";
    return below;
  }
  Weights operator/(int64_t index) const { return *this / std::to_string(index); }

  // A view that takes the tensors which are staged from there. They must outlive it.
  Weights staged(const StagedTensors& tensors) const {
    auto copy = *this;
    copy.staged_ = &tensors;
    return copy;
  }
  // A view whose tensors have a shape and a type but nothing in them: layers built from it are only checked.
  Weights described() const {
    auto copy = *this;
    copy.describes_ = true;
    return copy;
  }
  // A view whose tensors are held in this type, whatever the policy says.
  Weights in(at::ScalarType dtype) const {
    auto copy = *this;
    copy.dtype_ = dtype;
    return copy;
  }
  // The same of those that are held as their file has `name`, to be read a few rows at a time: nothing is copied,
  // unless something is added to it.
  Weights as_stored(const std::string& name) const;
  // What the policy's quantisation does to matrices: nothing, as to tables; rounds them to 8 bits, as those that one
  // row a step meets; or brings them into the form for products in int8, as those of blocks.
  enum class Rounding { none, weights, products };
  Weights quantised(Rounding rounding = Rounding::products) const {
    auto copy = *this;
    copy.rounding_ = rounding;
    return copy;
  }
  Rounding rounding() const { return checkpoint_->policy().quantize == Quantize::none ? Rounding::none : rounding_; }
  // The tensor `name`; `shape`, when given, is checked (-1 matches any length).
  Tensor load(const std::string& name, std::vector<int64_t> shape = {}) const {
    return describes_ ? checkpoint_->describe(prefix_ + name, shape)
                      : checkpoint_->load_patched(prefix_ + name, shape, dtype_, staged_);
  }
  // The tensor `name` as a matrix that is only multiplied by, or looked up in: see Checkpoint::matrix_type().
  Tensor load_matrix(const std::string& name, std::vector<int64_t> shape) const {
    return dtype_ || describes_ ? load(name, std::move(shape))
                                : in(checkpoint_->matrix_type(prefix_ + name)).load(name, std::move(shape));
  }
  // The matrix [shape[0], rest] that `name` is, where its numbers are packed in the file and stay so.
  std::optional<Packed> packed(const std::string& name, std::vector<int64_t> shape) const {
    return checkpoint_->load_packed(prefix_ + name, shape, staged_, describes_);
  }
  // What is added to it; nullptr where nothing is. load() adds it, packed() does not.
  const std::vector<Patch>* patches(const std::string& name) const { return checkpoint_->patches(prefix_ + name); }
  std::optional<Tensor> optional(const std::string& name, std::vector<int64_t> shape = {}) const {
    return has(name) ? std::optional(load(name, std::move(shape))) : std::nullopt;
  }
  bool has(const std::string& name) const { return checkpoint_->has(prefix_ + name); }
  const Checkpoint& checkpoint() const { return *checkpoint_; }
  const std::string& prefix() const { return prefix_; }

 private:
  const Checkpoint* checkpoint_;
  std::string prefix_;
  const StagedTensors* staged_ = nullptr;
  bool describes_ = false;
  Rounding rounding_ = Rounding::none;
  std::optional<at::ScalarType> dtype_;  // where it is not the policy's
};

}  // namespace eav
