// GGUF files: broken ones are refused in one line. tests/parity/test_stored_types.py reads what GGUF's package writes.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "eav/error.h"
#include "weights/tensor_file.h"
#include "weights/weights.h"

namespace eav {
namespace {

// The bytes of a file, piece by piece.
struct GgufBytes {
  std::string text;

  template <class T>
  GgufBytes& add(T number) {
    text.append(reinterpret_cast<const char*>(&number), sizeof number);
    return *this;
  }
  GgufBytes& add_text(const std::string& s) {
    add<uint64_t>(s.size());
    text += s;
    return *this;
  }
  GgufBytes& begin(uint64_t tensors, uint64_t values, uint32_t version = 3) {
    text += "GGUF";
    return add(version).add(tensors).add(values);
  }
  GgufBytes& add_tensor(const std::string& name, const std::vector<uint64_t>& axes, uint32_t type, uint64_t offset) {
    add_text(name).add<uint32_t>(static_cast<uint32_t>(axes.size()));
    for (const auto n : axes) add(n);
    return add(type).add(offset);
  }
  GgufBytes& add_data(size_t bytes) {
    text.resize((text.size() + 31) / 32 * 32);
    text.append(bytes, '\1');
    return *this;
  }
};

constexpr uint32_t kF32 = 0, kQ8 = 8, kString = 8, kArray = 9, kUint32 = 4;

class Gguf : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(dir_); }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  std::filesystem::path write(const std::string& bytes) {
    std::ofstream(dir_ / "model.gguf", std::ios::binary).write(bytes.data(), std::ssize(bytes));
    return dir_ / "model.gguf";
  }
  // What opening such a file is refused with; it names the file, in one line.
  std::string error(const std::string& bytes) {
    const auto path = write(bytes);
    try {
      TensorFile file(path);
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(path.string()), std::string::npos) << e.what();
      EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
      return e.what();
    }
    return "no error";
  }
  static bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

  // Two tensors, and a value of each kind.
  static GgufBytes whole() {
    GgufBytes file;
    file.begin(2, 3);
    file.add_text("general.architecture").add(kString).add_text("wan");
    file.add_text("answer").add(kUint32).add<uint32_t>(42);
    file.add_text("comfy.gguf.orig_shape.a")
        .add(kArray)
        .add<uint32_t>(5)
        .add<uint64_t>(2)
        .add<int32_t>(4)
        .add<int32_t>(16);
    file.add_tensor("a", {64}, kQ8, 0).add_tensor("b", {3, 2}, kF32, 96);
    file.add_data(68 + 28 + 24);
    return file;
  }

  std::filesystem::path dir_ = std::filesystem::temp_directory_path() / ("eav_gguf_" + std::to_string(::getpid()));
};

TEST_F(Gguf, ReadsValuesAndTensors) {
  const TensorFile file(write(whole().text));
  EXPECT_EQ(file.metadata().at("general.architecture"), "wan");
  EXPECT_EQ(std::get<uint64_t>(file.values().at("answer")), 42u);
  const auto& a = file.entries().at("a");
  EXPECT_EQ(a.shape, (std::vector<int64_t>{4, 16}));
  EXPECT_EQ(a.type_name(), "q8_0");
  EXPECT_EQ(file.view(a).sizes(), (std::vector<int64_t>{68}));  // blocks reach across rows
  EXPECT_EQ(file.entries().at("b").shape, (std::vector<int64_t>{2, 3}));
  const auto checkpoint = Checkpoint::open(CheckpointSource{.path = file.path()}, {});
  EXPECT_EQ(checkpoint.load("a", std::vector<int64_t>{4, 16}).scalar_type(), at::kFloat);
  EXPECT_THROW(checkpoint.load("a", std::vector<int64_t>{16, 4}), Error);
  EXPECT_FALSE(checkpoint.load_packed("a", std::vector<int64_t>{4, 16}));
}

TEST_F(Gguf, IsRefusedWhereverItIsCut) {
  const auto text = whole().text;
  for (size_t size = 1; size < text.size(); ++size) EXPECT_NE(error(text.substr(0, size)), "no error") << size;
  EXPECT_EQ(error(text), "no error");
}

TEST_F(Gguf, BrokenFilesAreRefusedInOneLine) {
  const auto one = [](const std::vector<uint64_t>& axes, uint32_t type, uint64_t offset, size_t data = 4096) {
    GgufBytes file;
    file.begin(1, 0).add_tensor("a", axes, type, offset).add_data(data);
    return file.text;
  };
  EXPECT_TRUE(has(error(GgufBytes().begin(0, 0, 1).text), "version 1"));
  EXPECT_TRUE(has(error(GgufBytes().begin(0, 0, 0x03000000).text), "other byte order"));
  EXPECT_TRUE(has(error("GGML"), "does not begin with"));
  EXPECT_TRUE(has(error(one({32}, 16, 0)), "type number 16"));
  EXPECT_TRUE(has(error(one({33}, kQ8, 0)), "blocks of 32"));
  EXPECT_TRUE(has(error(one({8, 8}, kF32, 4)), "not aligned"));
  EXPECT_TRUE(has(error(one({8, 8}, kF32, 4064)), "outside the file"));
  EXPECT_TRUE(has(error(one({8}, kF32, ~uint64_t{0} - 31)), "outside the file"));
  EXPECT_TRUE(has(error(one({uint64_t{1} << 40, uint64_t{1} << 40}, kF32, 0)), "impossible shape"));
  EXPECT_TRUE(has(error(one({~uint64_t{0}}, kF32, 0)), "impossible shape"));
  EXPECT_TRUE(has(error(one(std::vector<uint64_t>(9, 1), kF32, 0)), "9 axes"));
  // Counts of what is not there: nothing is made for them.
  EXPECT_TRUE(has(error(GgufBytes().begin(uint64_t{1} << 60, 0).text), "truncated"));
  EXPECT_TRUE(has(error(GgufBytes().begin(0, uint64_t{1} << 60).text), "truncated"));
  EXPECT_TRUE(has(error(GgufBytes().begin(0, 1).add(~uint64_t{0}).text), "truncated"));
  for (const uint32_t type : {kString, kUint32})
    EXPECT_TRUE(
        has(error(GgufBytes().begin(0, 1).add_text("x").add(kArray).add(type).add(~uint64_t{0}).text), "truncated"));
  EXPECT_TRUE(has(error(GgufBytes().begin(0, 1).add_text("x").add<uint32_t>(13).text), "unknown type 13"));
  EXPECT_TRUE(has(error(GgufBytes().begin(0, 1).add_text("x").add(kArray).add(kArray).add<uint64_t>(1).text),
                  "unknown type 9"));

  const auto with_value = [](const std::string& key, uint32_t value) {
    GgufBytes file;
    return file.begin(0, 1).add_text(key).add(kUint32).add(value).text;
  };
  EXPECT_TRUE(has(error(with_value("general.alignment", 24)), "alignment is 24"));
  EXPECT_TRUE(has(error(with_value("split.count", 3)), "one of 3 files"));
  GgufBytes twice, overlapping, other_shape;
  twice.begin(2, 0).add_tensor("a", {8}, kF32, 0).add_tensor("a", {8}, kF32, 32).add_data(64);
  EXPECT_TRUE(has(error(twice.text), "two tensors"));
  overlapping.begin(2, 0).add_tensor("a", {16}, kF32, 0).add_tensor("b", {8}, kF32, 32).add_data(64);
  EXPECT_TRUE(has(error(overlapping.text), "overlap"));
  other_shape.begin(1, 1)
      .add_text("comfy.gguf.orig_shape.a")
      .add(kArray)
      .add<uint32_t>(5)
      .add<uint64_t>(1)
      .add<int32_t>(7);
  other_shape.add_tensor("a", {8}, kF32, 0).add_data(64);
  EXPECT_TRUE(has(error(other_shape.text), "other elements"));
}

}  // namespace
}  // namespace eav
