// The container format: what is written is read again, and no broken file gets through.
#include "weights/safetensors.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <functional>

#include "eav/error.h"
#include "weights/weights.h"

namespace eav {
namespace {

class Safetensors : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(dir_); }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  // A file with this header text (its length is written in front unless `length` says otherwise) and data bytes.
  std::filesystem::path write(const std::string& header, size_t data_bytes,
                              std::optional<uint64_t> length = std::nullopt) {
    const auto path = dir_ / "model.safetensors";
    const uint64_t size = length.value_or(header.size());
    std::ofstream out(path, std::ios::binary);
    out.write(reinterpret_cast<const char*>(&size), sizeof size) << header << std::string(data_bytes, '\0');
    return path;
  }

  // The message of the error that opening the file gives; it always names the file.
  std::string error(const std::filesystem::path& path) {
    try {
      SafetensorsFile file(path);
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(path.string()), std::string::npos) << e.what();
      EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
      return e.what();
    }
    return "no error";
  }

  std::filesystem::path dir_ =
      std::filesystem::temp_directory_path() / ("eav_safetensors_" + std::to_string(::getpid()));
};

TEST_F(Safetensors, ReadsWhatItWrote) {
  const auto a = at::randn({3, 5}), b = at::arange(7).to(at::kBFloat16);
  save_safetensors(dir_ / "x.safetensors", {{"a", a}, {"b", b.slice(0, 0, c10::nullopt, 2)}}, {{"format", "pt"}});
  const SafetensorsFile file(dir_ / "x.safetensors");
  EXPECT_TRUE(at::equal(file.view(file.entries().at("a")), a));
  EXPECT_TRUE(at::equal(file.view(file.entries().at("b")), b.slice(0, 0, c10::nullopt, 2)));
  EXPECT_EQ(file.metadata().at("format"), "pt");
}

TEST_F(Safetensors, TensorsOfTheStoredTypeLieInTheFileItself) {
  save_safetensors(dir_ / "model.safetensors", {{"w", at::randn({64, 64})}});
  const auto as_stored = Checkpoint::open(dir_, "model", {});
  EXPECT_EQ(as_stored.load("w").const_data_ptr(), as_stored.load("w").const_data_ptr());
  const auto converted = Checkpoint::open(dir_, "model", {at::kBFloat16, at::kCPU});
  EXPECT_EQ(converted.load("w").scalar_type(), at::kBFloat16);
}

TEST_F(Safetensors, TellsThatItsFileWasCut) {
  const std::string header = R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  const SafetensorsFile file(write(header, 8));
  EXPECT_NO_THROW(file.check_whole());
  std::filesystem::resize_file(file.path(), std::filesystem::file_size(file.path()) - 1);
  EXPECT_THROW(file.check_whole(), Error);
  std::filesystem::remove(file.path());  // another file under its name is not it, which lives on
  EXPECT_NO_THROW(file.check_whole());
  std::ofstream(file.path()) << "x";
  EXPECT_NO_THROW(file.check_whole());
}

TEST_F(Safetensors, RefusesBrokenFiles) {
  const std::string good = R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  EXPECT_EQ(error(write(good, 8)), "no error");

  EXPECT_NE(error(dir_ / "nothing.safetensors").find("cannot be read: there is no such file"), std::string::npos);
  EXPECT_NE(error(write("", 0, 0)).find("no JSON object"), std::string::npos);
  EXPECT_NE(error(write(good, 8, 1 << 20)).find("truncated"), std::string::npos);
  EXPECT_NE(error(write(good, 8, 1ULL << 40)).find("more than allowed"), std::string::npos);
  EXPECT_NE(error(write(good, 8, ~0ULL)).find("more than allowed"), std::string::npos);
  EXPECT_NE(error(write(good, 4)).find("truncated"), std::string::npos);
  EXPECT_NE(error(write(good, 12)).find("12 bytes of data"), std::string::npos);
  EXPECT_NE(error(write("[1, 2]", 0)).find("no JSON object"), std::string::npos);

  const auto tensor = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"w":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  EXPECT_NE(error(write(tensor("F99", "[2]", "[0,8]"), 8)).find("unknown dtype F99"), std::string::npos);
  EXPECT_NE(error(write(tensor("F32", "[3]", "[0,8]"), 8)).find("needs 12"), std::string::npos);
  EXPECT_NE(error(write(tensor("F32", "[-2]", "[0,8]"), 8)).find("proper"), std::string::npos);
  EXPECT_NE(error(write(tensor("F32", "[9223372036854775807,9]", "[0,8]"), 8)).find("impossible"), std::string::npos);
  EXPECT_NE(error(write(tensor("F32", "[0,18446744073709551615]", "[0,0]"), 0)).find("impossible"), std::string::npos);
  EXPECT_NE(error(write(tensor("F32", "[2]", "[8,0]"), 8)).find("outside"), std::string::npos);

  const std::string overlapping =
      R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})";
  EXPECT_NE(error(write(overlapping, 6)).find("overlaps"), std::string::npos);
  const std::string hole =
      R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})";
  EXPECT_NE(error(write(hole, 8)).find("hole"), std::string::npos);
}

TEST_F(Safetensors, CheckpointNamesWhatIsMissingWrongOrLeftOver) {
  save_safetensors(dir_ / "model.safetensors", {{"a.weight", at::zeros({2, 3})},
                                                {"a.stray", at::zeros({1})},
                                                {"stray", at::zeros({1})},
                                                {"old.x", at::zeros({1})}});
  const auto checkpoint = Checkpoint::open(dir_, "model", {});
  const auto message = [&](const std::function<void()>& action) -> std::string {
    try {
      action();
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  };
  const Weights w(checkpoint);
  EXPECT_NE(message([&] { (w / "a").load("bias", {3}); }).find("\"a.bias\" of shape [3] is missing"),
            std::string::npos);
  EXPECT_NE(message([&] { (w / "a").load("weight", {3, 2}); }).find("\"a.weight\" has shape [2, 3], expected [3, 2]"),
            std::string::npos);
  EXPECT_EQ(message([&] { (w / "a").load("weight", {-1, 3}); }), "no error");
  const std::vector<UnneededKey> unneeded{{"old.*", "of an earlier version"}};
  EXPECT_NE(message([&] { checkpoint.check_all_read(unneeded); }).find("\"a.stray\""), std::string::npos);
  w.load("a.stray");
  EXPECT_NE(checkpoint.check_all_read(unneeded).find("left out: stray"), std::string::npos);
  w.load("stray");
  EXPECT_EQ(checkpoint.check_all_read(unneeded), "");
}

// Layers take a bias where there is one, so that only the other blocks tell of a lost one.
TEST_F(Safetensors, ABlockHasWhatTheOthersHave) {
  std::map<std::string, Tensor> tensors;
  for (const auto* block : {"blocks.0.", "blocks.1."})
    for (const auto* name : {"to_q.weight", "to_q.bias", "to_k.weight"})
      tensors[block + std::string(name)] = at::zeros({2});
  const auto check = [&] {
    save_safetensors(dir_ / "model.safetensors", tensors);
    const auto checkpoint = Checkpoint::open(dir_, "model", {});
    for (const auto& [key, tensor] : tensors) checkpoint.load(key);
    checkpoint.check_all_read();
  };
  check();
  tensors.erase("blocks.1.to_q.bias");
  EXPECT_THROW(check(), Error);
}

}  // namespace
}  // namespace eav
