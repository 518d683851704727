#include "hub/listing.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "eav/error.h"
#include "hub/name.h"

namespace eav {
namespace {

using Json = nlohmann::json;

const std::string kCommit(40, 'c'), kSha1(40, 'a'), kSha256(64, 'b');

Json entry(const std::string& path) { return {{"rfilename", path}, {"size", 3}, {"blobId", kSha1}}; }

std::string listing_of(const Json& entries) { return Json{{"sha", kCommit}, {"siblings", entries}}.dump(); }

// What a listing is refused with; empty where it is read.
std::string refusal(const std::string& json) {
  try {
    parse_listing(json, "the hub");
    return "";
  } catch (const Error& error) {
    EXPECT_TRUE(std::string_view(error.what()).starts_with("the hub ")) << error.what();
    return error.what();
  }
}

TEST(Listing, TellsSizesAndChecksums) {
  auto large = entry("vae/model.safetensors");
  large["lfs"] = {{"sha256", kSha256}, {"size", 5'000'000'000}, {"pointerSize", 135}};
  const auto listing = parse_listing(listing_of(Json::array({large, entry("config.json")})), "the hub");
  EXPECT_EQ(listing.commit, kCommit);
  ASSERT_EQ(listing.files.size(), 2);
  EXPECT_EQ(listing.files[0].path, "config.json");
  EXPECT_EQ(listing.files[0].etag, kSha1);
  EXPECT_EQ(listing.files[1].size, 5'000'000'000);
  EXPECT_EQ(listing.files[1].etag, kSha256);
}

TEST(Listing, RefusesNamesThatLeadElsewhere) {
  for (const std::string name :
       {"", ".", "..", "../x", "/x", "a/../x", "a//b", "a/", "a/./b", "a\nb", "a\x1b[31m", "a\x7f"})
    EXPECT_NE(refusal(listing_of(Json::array({entry(name)}))).find("lists a file by the name"), std::string::npos)
        << name;
  EXPECT_NE(refusal(listing_of(Json::array({entry(std::string(300, 'x'))}))), "");
  EXPECT_NE(refusal(listing_of(Json::array({entry("a"), entry("a")}))), "");
  EXPECT_EQ(refusal(listing_of(Json::array({entry("..a/b..c/ ä, 円.gguf")}))), "");
}

TEST(Listing, RefusesWhatHasNoSizeOrChecksum) {
  for (const auto& wrong :
       {Json{{"size", -1}}, Json{{"size", 1.5}}, Json{{"size", uint64_t{1} << 60}}, Json{{"size", "3"}},
        Json{{"blobId", "../../x"}}, Json{{"blobId", kSha256}}, Json{{"blobId", nullptr}},
        Json{{"blobId", std::string(40, 'A')}}, Json{{"lfs", Json::object()}},
        Json{{"lfs", {{"sha256", kSha1}, {"size", 3}}}}, Json{{"lfs", {{"sha256", kSha256}, {"size", -3}}}}}) {
    auto file = entry("a");
    file.update(wrong);
    EXPECT_NE(refusal(listing_of(Json::array({file}))).find("without a size and a checksum"), std::string::npos)
        << file;
  }
}

TEST(Listing, RefusesWhatIsNone) {
  for (const std::string json : {"", "<html>", "[]", "{}", R"({"siblings": 3})", R"({"sha": "main", "siblings": []})",
                                 R"({"siblings": []})", R"({"sha": 1, "siblings": []})"})
    EXPECT_NE(refusal(json), "") << json;
  EXPECT_NE(refusal(std::string(100'000, '[')), "");
  EXPECT_NE(refusal(listing_of(Json::array({3}))), "");
}

TEST(HubName, IsARepositoryOrAFileInIt) {
  const auto repository = parse_hub_name("Wan-AI/Wan2.1-T2V-1.3B_x");
  ASSERT_TRUE(repository);
  EXPECT_EQ(repository->path, "");
  const auto file = parse_hub_name("a/b:c/d:e.gguf");
  ASSERT_TRUE(file);
  EXPECT_EQ(file->repository, "a/b");
  EXPECT_EQ(file->path, "c/d:e.gguf");
  EXPECT_EQ(parse_hub_name("a/b:vae/")->path, "vae");
  for (const auto* none : {"", "a", "a/", "/b", "a/b/c", "./b", "../b", "a/..", "-a/b", "a/b--c", "a/b..c", "~/b",
                           "a/b:", "a/b:/c", "a/b:../c", "a b/c", "a/b\n", "C:/b", "a/ä"})
    EXPECT_FALSE(parse_hub_name(none)) << none;
}

}  // namespace
}  // namespace eav
