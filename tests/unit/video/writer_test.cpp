// What write_video() writes is read back with the ffmpeg and ffprobe programs.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "eav/video.h"

namespace eav {
namespace {

namespace fs = std::filesystem;
using at::Tensor;

// The standard output of a shell command that must succeed.
std::string run(const std::string& command) {
  auto* pipe = popen(command.c_str(), "r");
  std::string output;
  char buffer[65536];
  while (const auto n = fread(buffer, 1, sizeof buffer, pipe)) output.append(buffer, n);
  EXPECT_EQ(pclose(pipe), 0) << command;
  return output;
}

std::string quoted(const fs::path& path) { return "'" + path.string() + "'"; }

// All pictures of a file (or of a pattern such as frame_%05d.png), as ffmpeg decodes them: uint8 [F, H, W, 3].
Tensor decode(const fs::path& file, int64_t height, int64_t width, const std::string& filter = "null") {
  const auto bytes = run("ffmpeg -v error -nostdin -i " + quoted(file) + " -vf " + filter +
                         " -fps_mode passthrough -f rawvideo -pix_fmt rgb24 -");
  const auto size = static_cast<int64_t>(bytes.size());
  EXPECT_EQ(size % (height * width * 3), 0);
  return at::from_blob(const_cast<char*>(bytes.data()), {size / (height * width * 3), height, width, 3}, at::kByte)
      .clone();
}

nlohmann::json probe(const fs::path& file) {
  return nlohmann::json::parse(
      run("ffprobe -v error -count_frames -show_streams -show_format -of json " + quoted(file)));
}

std::string bytes_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

double psnr(const Tensor& a, const Tensor& b) {
  const auto error = (a.to(at::kDouble) - b.to(at::kDouble)).square().mean().item<double>();
  return 10 * std::log10(255.0 * 255.0 / error);
}

// A smooth wave in three colours that drifts.
Tensor moving_clip(int64_t frames = 20, int64_t height = 48, int64_t width = 64) {
  const auto t = at::arange(frames, at::kFloat).view({-1, 1, 1, 1}) * 0.2;
  const auto y = at::arange(height, at::kFloat).view({1, -1, 1, 1}) * 0.07;
  const auto x = at::arange(width, at::kFloat).view({1, 1, -1, 1}) * 0.05;
  const auto phase = at::arange(3, at::kFloat).view({1, 1, 1, -1});
  return ((at::sin(x + y + t + phase) * 0.5 + 0.5) * 255).round().to(at::kByte);
}

// `frames` frames of one colour.
Tensor flat(std::vector<int64_t> rgb, int64_t frames = 1, int64_t height = 32, int64_t width = 32) {
  return at::tensor(rgb, at::kByte).expand({frames, height, width, 3}).contiguous();
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

testing::AssertionResult contains(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "\"" << text << "\" does not say \"" << part << "\"";
}

// Counts the calls of cancelled() and answers yes from one of them on.
class StopAt : public Progress {
 public:
  explicit StopAt(int call) : left_(call) {}
  bool cancelled() const override { return --left_ <= 0; }

 private:
  mutable int left_;
};

// Every test has an empty folder of its own.
class Writer : public testing::Test {
 protected:
  Writer() {
    auto pattern = (fs::temp_directory_path() / "eav-writer-XXXXXX").string();
    dir = mkdtemp(pattern.data());
  }
  ~Writer() override { fs::remove_all(dir); }

  // The names of all that lies in a folder.
  static std::set<std::string> list(const fs::path& folder) {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename().string());
    return names;
  }

  fs::path dir;
};

using Names = std::set<std::string>;

TEST(OutputKind, IsToldByTheSuffix) {
  EXPECT_EQ(output_kind("a/b.mp4"), OutputKind::mp4);
  EXPECT_EQ(output_kind("B.MP4"), OutputKind::mp4);
  EXPECT_EQ(output_kind("b.c.webm"), OutputKind::webm);
  EXPECT_EQ(output_kind("b.gif"), OutputKind::gif);
  EXPECT_EQ(output_kind("nowhere/"), OutputKind::frames);
  EXPECT_EQ(output_kind("nowhere.mp4/"), OutputKind::frames);
  EXPECT_EQ(output_kind(fs::temp_directory_path()), OutputKind::frames);
  for (const auto* bad : {"", "b", "b.avi", "mp4", ".mp4", "b.mp4~"}) {
    const auto message = message_of([&] { output_kind(bad); });
    for (const auto* works : {".mp4", ".webm", ".gif", "/ for PNG"}) EXPECT_TRUE(contains(message, works)) << bad;
  }
}

TEST_F(Writer, ChecksTheOutputBeforeTheWork) {
  const auto message = [&](const fs::path& out, bool overwrite = false) {
    return message_of([&] { check_output(out, overwrite); });
  };
  for (const auto* fine : {"new.mp4", "new.webm", "new.gif", "new/"}) EXPECT_EQ(message(dir / fine), "no error");
  EXPECT_EQ(list(dir), Names{});

  std::ofstream(dir / "old.mp4") << "x";
  EXPECT_TRUE(contains(message(dir / "old.mp4"), "--overwrite"));
  EXPECT_EQ(message(dir / "old.mp4", true), "no error");
  EXPECT_EQ(bytes_of(dir / "old.mp4"), "x");
  EXPECT_TRUE(contains(message(dir / "old.mp4/", true), "is a file"));

  fs::create_directory(dir / "frames");
  EXPECT_EQ(message(dir / "frames"), "no error");
  EXPECT_EQ(message(dir / "frames/"), "no error");
  std::ofstream(dir / "frames/note.txt") << "x";
  EXPECT_TRUE(contains(message(dir / "frames"), "not empty"));
  EXPECT_EQ(message(dir / "frames", true), "no error");

  EXPECT_TRUE(contains(message(dir / "none/new.mp4"), "there is no folder"));
  EXPECT_TRUE(contains(message(dir / "none/new/"), "there is no folder"));
  EXPECT_TRUE(contains(message("/proc/new.mp4"), "cannot write '/proc/new.mp4'"));  // nobody creates files there
  EXPECT_TRUE(contains(message(dir / "new.avi"), ".webm"));
  EXPECT_EQ(list(dir), (Names{"old.mp4", "frames"}));
  EXPECT_EQ(list(dir / "frames"), Names{"note.txt"});
}

struct Case {
  std::string name;
  double psnr;  // at least, for moving_clip()
  friend std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }
};

class VideoFile : public Writer, public testing::WithParamInterface<Case> {
 protected:
  fs::path out = dir / GetParam().name;
};

INSTANTIATE_TEST_SUITE_P(Kinds, VideoFile, testing::Values(Case{"a.mp4", 35}, Case{"a.webm", 35}, Case{"a.gif", 30}),
                         [](const auto& info) { return info.param.name.substr(2); });

TEST_P(VideoFile, HoldsEveryFrame) {
  const auto clip = moving_clip();
  write_video(out, clip, 25, "");
  const auto read = decode(out, 48, 64);
  ASSERT_EQ(read.sizes(), clip.sizes());
  EXPECT_GT(psnr(read, clip), GetParam().psnr);
  EXPECT_GT(psnr(read, clip), psnr(read.slice(0, 1), clip.slice(0, 0, -1)) + 3);  // in this order, not one frame off

  const auto info = probe(out);
  EXPECT_EQ(info["streams"].size(), 1U);
  EXPECT_EQ(info["streams"][0]["r_frame_rate"], "25/1");
  EXPECT_EQ(info["streams"][0]["avg_frame_rate"], "25/1");
  EXPECT_NEAR(std::stod(info["format"]["duration"].get<std::string>()), 0.8, 0.002);
  EXPECT_EQ(list(dir), Names{GetParam().name});
}

TEST_P(VideoFile, KeepsColours) {
  const std::vector<std::vector<int64_t>> colours{{255, 0, 0},     {0, 255, 0},     {0, 0, 255},   {0, 0, 0},
                                                  {128, 128, 128}, {255, 255, 255}, {200, 120, 40}};
  std::vector<Tensor> frames;
  for (const auto& colour : colours) frames.push_back(flat(colour));
  const auto clip = at::cat(frames);
  write_video(out, clip, 24, "");
  const auto off = (decode(out, 32, 32).to(at::kInt) - clip.to(at::kInt)).abs().max().item<int>();
  EXPECT_LE(off, GetParam().name == "a.gif" ? 0 : 4);
}

TEST_P(VideoFile, OfOneFrame) {
  write_video(out, moving_clip(1), 24, "");
  EXPECT_GT(psnr(decode(out, 48, 64), moving_clip(1)), GetParam().psnr - 2);
}

TEST_P(VideoFile, OfOddSize) {
  const auto clip = moving_clip(5, 33, 47);
  write_video(out, clip, 24, "");
  const bool padded = GetParam().name == "a.mp4";
  const auto read = decode(out, padded ? 34 : 33, padded ? 48 : 47);
  ASSERT_EQ(read.size(0), 5);
  EXPECT_GT(psnr(read.slice(1, 0, 33).slice(2, 0, 47), clip), GetParam().psnr - 3);
  write_video(out, flat({10, 20, 30}, 2, 1, 1), 24, "");
  const auto pixel = padded ? decode(out, 2, 2) : decode(out, 1, 1);
  EXPECT_EQ(pixel.size(0), 2);
}

TEST_P(VideoFile, GivesTheSameBytesTwice) {
  const auto clip = moving_clip();
  write_video(out, clip, 23.976, R"({"seed": 1})");
  const auto first = bytes_of(out);
  mallopt(M_PERTURB, 0x5a);  // memory never written to has other bytes than before
  write_video(out, clip, 23.976, R"({"seed": 1})");
  mallopt(M_PERTURB, 0);
  EXPECT_GT(first.size(), 500U);
  EXPECT_TRUE(first == bytes_of(out));
}

TEST_P(VideoFile, TakesFramesThatAreNotContiguous) {
  const auto clip = moving_clip(6);
  write_video(out, clip, 24, "");
  const auto expected = bytes_of(out);
  write_video(out, clip.permute({3, 0, 1, 2}).contiguous().permute({1, 2, 3, 0}), 24, "");
  EXPECT_TRUE(expected == bytes_of(out));
}

TEST_P(VideoFile, CannotGrow) {  // stands for a full disk where nothing may be mounted
  const auto noise = at::randint(0, 256, {10, 64, 64, 3}, at::kByte);
  write_video(out, noise, 24, "{}");
  const auto whole = fs::file_size(out);
  ASSERT_GT(whole, 20'000U);
  std::ofstream(out) << "an older video";
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  auto* handler = std::signal(SIGXFSZ, SIG_IGN);
  for (const rlim_t bytes : {rlim_t{1}, whole / 2, whole - 1}) {  // the last: all but the end fits
    const rlimit limit{bytes, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
    const auto message = message_of([&] { write_video(out, noise, 24, "{}"); });
    setrlimit(RLIMIT_FSIZE, &before);
    EXPECT_EQ(message, "cannot write '" + out.string() + "': File too large") << bytes;
    EXPECT_EQ(list(dir), Names{GetParam().name});
    EXPECT_EQ(bytes_of(out), "an older video");
  }
  std::signal(SIGXFSZ, handler);
}

TEST_P(VideoFile, LeavesNothingWhenStopped) {
  for (const int call : {1, 7, 21, 25}) {
    if (call > 20 && GetParam().name == "a.gif") continue;  // its packets come at once, none after the last frame
    const StopAt progress(call);
    EXPECT_THROW(write_video(out, moving_clip(), 24, "", progress), Cancelled) << call;
    EXPECT_EQ(list(dir), Names{}) << call;
  }
  const StopAt never(1 << 30);
  write_video(out, moving_clip(), 24, "", never);
  EXPECT_EQ(list(dir), Names{GetParam().name});
}

TEST_F(Writer, MakesMp4ThatPlaysEverywhere) {
  write_video(dir / "a.mp4", moving_clip(), 24, "");
  const auto stream = probe(dir / "a.mp4")["streams"][0];
  EXPECT_EQ(stream["codec_name"], "h264");
  EXPECT_EQ(stream["pix_fmt"], "yuv420p");
  for (const auto* key : {"color_space", "color_primaries", "color_transfer"}) EXPECT_EQ(stream[key], "bt709") << key;
  EXPECT_EQ(stream["color_range"], "tv");
  const auto bytes = bytes_of(dir / "a.mp4");
  EXPECT_LT(bytes.find("moov"), bytes.find("mdat"));
}

TEST_F(Writer, MakesWebm) {
  write_video(dir / "a.webm", moving_clip(), 24, "");
  const auto info = probe(dir / "a.webm");
  EXPECT_EQ(info["streams"][0]["codec_name"], "vp9");
  EXPECT_EQ(info["streams"][0]["pix_fmt"], "yuv420p");
  EXPECT_EQ(info["streams"][0]["color_space"], "bt709");
  EXPECT_TRUE(bytes_of(dir / "a.webm").find("webm") < 100);  // not "matroska", which browsers refuse
}

TEST_F(Writer, KeepsFractionalRates) {
  const std::map<double, std::string> rates{{23.976, "24000/1001"}, {29.97, "30000/1001"}, {12.5, "25/2"}, {8, "8/1"}};
  for (const auto& [fps, expected] : rates) {
    write_video(dir / "a.mp4", moving_clip(), fps, "");
    EXPECT_EQ(probe(dir / "a.mp4")["streams"][0]["r_frame_rate"], expected);
    write_video(dir / "a.webm", moving_clip(), fps, "");
    const auto rate = probe(dir / "a.webm")["streams"][0]["r_frame_rate"].get<std::string>();
    const auto slash = rate.find('/');
    EXPECT_NEAR(std::stod(rate.substr(0, slash)) / std::stod(rate.substr(slash + 1)), fps, 0.001);
  }
}

TEST_F(Writer, GifKeepsTime) {
  const auto duration = [&] { return std::stod(probe(dir / "a.gif")["format"]["duration"].get<std::string>()); };
  write_video(dir / "a.gif", moving_clip(48), 24, "");
  EXPECT_EQ(decode(dir / "a.gif", 48, 64).size(0), 48);
  EXPECT_NEAR(duration(), 2.0, 0.03);
  write_video(dir / "a.gif", moving_clip(120), 120, "");
  EXPECT_NEAR(duration(), 1.0, 0.03);
  EXPECT_LE(decode(dir / "a.gif", 48, 64).size(0), 51);
}

TEST_F(Writer, GifColoursAreAsGoodAsFfmpegs) {
  const auto clip = moving_clip(10, 96, 128);
  write_video(dir / "ours.gif", clip, 25, "");
  write_video(dir / "frames/", clip, 25, "");
  run("ffmpeg -v error -nostdin -r 25 -i " + quoted(dir / "frames/frame_%05d.png") +
      " -vf 'split[a][b];[a]palettegen[p];[b][p]paletteuse=dither=bayer:bayer_scale=3' " + quoted(dir / "theirs.gif"));
  const auto ours = psnr(decode(dir / "ours.gif", 96, 128), clip);
  EXPECT_GT(ours, psnr(decode(dir / "theirs.gif", 96, 128), clip));
  // Seen from afar, where dither blends, nothing is off.
  const auto blurred = [](const Tensor& x) { return at::avg_pool2d(x.to(at::kFloat).permute({0, 3, 1, 2}), 8); };
  EXPECT_LT((blurred(decode(dir / "ours.gif", 96, 128)) - blurred(clip)).abs().max().item<float>(), 4);
}

TEST_F(Writer, StoresMetadata) {
  const nlohmann::json metadata{{"prompt", "a \"cat\"\nin Zürich; 猫=#1\\"}, {"trace", std::string(100'000, 'x')}};
  for (const auto* name : {"a.mp4", "a.webm"}) {
    write_video(dir / name, moving_clip(2), 24, metadata.dump());
    auto tags = probe(dir / name)["format"]["tags"];
    EXPECT_EQ(tags.value("comment", tags.value("COMMENT", "")), metadata.dump()) << name;
    EXPECT_EQ(read_metadata(dir / name), metadata.dump());
    write_video(dir / name, moving_clip(2), 24, "");
    EXPECT_EQ(read_metadata(dir / name), "");
  }
}

TEST_F(Writer, ReadsMetadataOfVideosOnly) {
  write_video(dir / "a.gif", moving_clip(2), 24, "");
  std::ofstream(dir / "a.txt") << "no video";
  std::ofstream(dir / "a.mp4") << "no video";
  std::ofstream(dir / "empty.mp4");
  run("ffmpeg -v error -nostdin -f lavfi -i anullsrc -t 0.1 " + quoted(dir / "sound.mp4"));
  for (const auto* name : {"a.gif", "a.txt", "a.mp4", "empty.mp4", "none.mp4", ".", "sound.mp4"})
    EXPECT_TRUE(contains(message_of([&] { read_metadata(dir / name); }), "cannot read '" + (dir / name).string()));
}

TEST_F(Writer, MakesExactPictures) {
  const auto clip = at::cat({moving_clip(3, 33, 47), at::randint(0, 256, {2, 33, 47, 3}, at::kByte)});
  write_video(dir / "new/", clip, 24, "ignored");
  fs::create_directory(dir / "empty");
  write_video(dir / "empty", clip, 24, "ignored");
  for (const auto* folder : {"new", "empty"}) {
    EXPECT_EQ(list(dir / folder),
              (Names{"frame_00000.png", "frame_00001.png", "frame_00002.png", "frame_00003.png", "frame_00004.png"}));
    EXPECT_TRUE(decode(dir / folder / "frame_%05d.png", 33, 47).equal(clip));
  }
  EXPECT_EQ(list(dir), (Names{"new", "empty"}));
  const auto picture = bytes_of(dir / "new/frame_00000.png");
  for (const auto* chunk : {"tEXt", "iTXt", "tIME", "gAMA", "sRGB", "cHRM"})
    EXPECT_EQ(picture.find(chunk), std::string::npos) << chunk;
}

TEST_F(Writer, ReplacesOnlyPicturesInAFolder) {
  const auto folder = dir / "frames";
  write_video(folder / "", moving_clip(5), 24, "");
  std::ofstream(folder / "note.txt") << "mine";
  std::ofstream(folder / "frame_1.png") << "mine";
  write_video(folder / "", moving_clip(2, 16, 16), 24, "");
  EXPECT_EQ(list(folder), (Names{"frame_00000.png", "frame_00001.png", "frame_1.png", "note.txt"}));
  EXPECT_TRUE(decode(folder / "frame_%05d.png", 16, 16).equal(moving_clip(2, 16, 16)));
}

TEST_F(Writer, LeavesNoPicturesWhenStopped) {
  fs::create_directory(dir / "empty");
  for (const auto* folder : {"new/", "empty"}) {
    const StopAt progress(5);
    EXPECT_THROW(write_video(dir / folder, moving_clip(), 24, "", progress), Cancelled);
  }
  EXPECT_EQ(list(dir), Names{"empty"});
  EXPECT_EQ(list(dir / "empty"), Names{});
}

TEST_F(Writer, ReportsAFullDisk) {
  const auto disk = dir / "disk";
  fs::create_directory(disk);
  if (mount("none", disk.c_str(), "tmpfs", 0, "size=128k") != 0) GTEST_SKIP() << "needs the right to mount";
  const auto noise = at::randint(0, 256, {30, 96, 128, 3}, at::kByte);
  for (const auto* name : {"a.mp4", "a.webm", "a.gif", "new/", ""}) {  // "": the disk itself
    const auto message = message_of([&] { write_video(disk / name, noise, 24, ""); });
    EXPECT_EQ(message, "cannot write '" + (disk / name).string() +
                           "': No space left on device; free some space or write to another disk");
    EXPECT_EQ(list(disk), Names{});
  }
  EXPECT_EQ(message_of([&] { write_video(disk / "", moving_clip(2), 24, ""); }), "no error");
  EXPECT_EQ(list(disk), (Names{"frame_00000.png", "frame_00001.png"}));
  umount(disk.c_str());
}

TEST_F(Writer, FollowsLinks) {
  fs::create_directory(dir / "elsewhere");
  std::ofstream(dir / "elsewhere/a.mp4") << "x";
  fs::create_symlink("elsewhere/a.mp4", dir / "a.mp4");
  write_video(dir / "a.mp4", moving_clip(2), 24, "");
  EXPECT_TRUE(fs::is_symlink(dir / "a.mp4"));
  EXPECT_EQ(decode(dir / "elsewhere/a.mp4", 48, 64).size(0), 2);
}

TEST_F(Writer, TakesAnyName) {
  const auto before = fs::current_path();
  fs::current_path(dir);
  for (const auto* name : {"12:30.mp4", "%d.webm", "a b 'c'.gif", "pipe:1.mp4", "%05d:x/"}) {
    EXPECT_NO_THROW(check_output(name, false)) << name;
    EXPECT_NO_THROW(write_video(name, moving_clip(2), 24, "")) << name;
  }
  fs::current_path(before);
  EXPECT_EQ(list(dir), (Names{"12:30.mp4", "%d.webm", "a b 'c'.gif", "pipe:1.mp4", "%05d:x"}));
}

TEST_F(Writer, RefusesWhatIsNoVideo) {
  const auto message = [&](const Tensor& frames, double fps = 24) {
    return message_of([&] { write_video(dir / "a.mp4", frames, fps, ""); });
  };
  const auto clip = moving_clip(2);
  EXPECT_TRUE(contains(message(Tensor()), "uint8 tensor"));
  EXPECT_TRUE(contains(message(clip[0]), "uint8 tensor"));
  EXPECT_TRUE(contains(message(clip.to(at::kFloat)), "uint8 tensor"));
  EXPECT_TRUE(contains(message(clip.slice(3, 0, 1)), "uint8 tensor"));
  EXPECT_TRUE(contains(message(clip.slice(0, 0, 0)), "no frames"));
  EXPECT_TRUE(contains(message(clip.slice(1, 0, 0)), "64x0"));
  EXPECT_TRUE(contains(message(at::zeros({1, 2, 16385, 3}, at::kByte)), "16385x2"));
  for (const double fps : {0.0, -1.0, 1e-9, 1e9, std::nan(""), HUGE_VAL})
    EXPECT_TRUE(contains(message(clip, fps), "frames a second")) << fps;
  EXPECT_TRUE(contains(message_of([&] { write_video(dir / "none/a.mp4", clip, 24, ""); }), "No such file"));
  EXPECT_EQ(list(dir), Names{});
}

TEST_F(Writer, KeepsQuiet) {
  testing::internal::CaptureStderr();
  for (const auto* name : {"a.mp4", "a.webm", "a.gif", "a/"}) write_video(dir / name, moving_clip(3), 24, "{}");
  message_of([&] { read_metadata("/etc/passwd"); });
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace eav
