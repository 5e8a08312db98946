// Runs a fuzz target without libFuzzer: NAME CORPUS MUTATIONS [canary]. Every file of the corpus, then so
// many mutations of them, the same ones each time. With "canary", the target plants a fault, and not to find
// it fails.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz_target.h"

namespace {

struct Found : std::runtime_error {
  using std::runtime_error::runtime_error;
};

std::vector<std::string> ReadCorpus(const std::string& directory) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> corpus;
  for (const auto& path : paths) {
    std::ifstream stream(path, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
  }
  return corpus;
}

std::string Mutate(const std::vector<std::string>& corpus, std::mt19937& random) {
  static constexpr char kEdges[] = {0, 1, 0x7f, static_cast<char>(0x80), static_cast<char>(0xff), 4, 9, 0x20};
  std::string bytes = corpus[random() % corpus.size()];
  for (uint32_t changes = 1 + random() % 4; changes > 0; --changes) {
    const size_t at = bytes.empty() ? 0 : random() % bytes.size();
    const size_t size = std::min<size_t>(1 + random() % 40, bytes.size() - at);
    switch (random() % 7) {
      case 0:
        if (!bytes.empty()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
        break;
      case 1:
        if (!bytes.empty()) bytes[at] = kEdges[random() % sizeof kEdges];
        break;
      case 2:
        if (!bytes.empty()) bytes[at] = static_cast<char>(random());
        break;
      case 3:
        bytes.erase(at, size);
        break;
      case 4:
        bytes.insert(at, bytes.substr(at, size));
        break;
      case 5:
        bytes.resize(at);
        break;
      default: {
        const std::string& other = corpus[random() % corpus.size()];
        bytes.insert(at, other, other.empty() ? 0 : random() % other.size(), random() % 300);
      }
    }
  }
  return bytes;
}

// In memory of exactly its size, so that a sanitizer sees what reads beyond it.
void Run(const std::string& bytes) {
  const std::vector<uint8_t> copy(bytes.begin(), bytes.end());
  LLVMFuzzerTestOneInput(copy.data(), copy.size());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  thermocline::fuzz::canary = argc > 3 && std::strcmp(argv[3], "canary") == 0;
  thermocline::fuzz::on_failure = [](const char* what) { throw Found(what); };
  const std::vector<std::string> corpus = ReadCorpus(argv[1]);
  if (corpus.empty()) return 2;
  const int mutations = std::atoi(argv[2]);
  std::mt19937 random(1);
  const std::string* running = nullptr;
  std::string mutated;
  int done = 0;
  try {
    for (const std::string& bytes : corpus) Run(*(running = &bytes));
    for (; done < mutations; ++done) {
      mutated = Mutate(corpus, random);
      Run(*(running = &mutated));
    }
  } catch (const Found& found) {
    std::printf("after %d mutations: %s\n", done, found.what());
    if (thermocline::fuzz::canary) return 0;
    std::ofstream("failed_input", std::ios::binary) << *running;
    std::printf("the input is in failed_input\n");
    return 1;
  }
  std::printf("%zu files and %d mutations\n", corpus.size(), done);
  return thermocline::fuzz::canary ? 1 : 0;
}
