// Runs a build's model.onnx through ONNX Runtime's C API, with nothing else than the C++ standard library.
//
//     g++ -O2 -std=c++17 run_model.cpp -I$ONNXRUNTIME/include -L$ONNXRUNTIME/lib -lonnxruntime -o run_model
//     ./run_model model.onnx input.f32 3 32 32
//
// input.f32: float32 [C, H, W] of one image, preprocessed as the README of the build says. Prints how long loading and a
// call took, and one line for each output: its name, then its numbers.

#include <onnxruntime_c_api.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

namespace {

const OrtApi* api = OrtGetApiBase()->GetApi(ORT_API_VERSION);
constexpr int kCalls = 50;

// Ends the program with ONNX Runtime's own words where it refuses.
void check(OrtStatus* status) {
  if (status == nullptr) return;
  std::cerr << "error: " << api->GetErrorMessage(status) << "\n";
  std::exit(1);
}

double milliseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

std::vector<float> read_floats(const char* path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  std::vector<float> values(bytes.size() / sizeof(float));
  std::copy_n(bytes.data(), values.size() * sizeof(float), reinterpret_cast<char*>(values.data()));
  return values;
}

// Names of inputs or outputs, by the two functions that give them.
template <typename Count, typename Name>
std::vector<std::string> names(OrtSession* session, Count count, Name name) {
  OrtAllocator* allocator;
  check(api->GetAllocatorWithDefaultOptions(&allocator));
  size_t size;
  check(count(session, &size));
  std::vector<std::string> found;
  for (size_t i = 0; i < size; i++) {
    char* text;
    check(name(session, i, allocator, &text));
    found.emplace_back(text);
    allocator->Free(allocator, text);
  }
  return found;
}

void print(const std::string& name, const OrtValue* value) {
  OrtTensorTypeAndShapeInfo* info;
  check(api->GetTensorTypeAndShape(value, &info));
  size_t count;
  check(api->GetTensorShapeElementCount(info, &count));
  api->ReleaseTensorTypeAndShapeInfo(info);
  float* numbers;
  check(api->GetTensorMutableData(const_cast<OrtValue*>(value), reinterpret_cast<void**>(&numbers)));
  std::printf("%s", name.c_str());
  for (size_t i = 0; i < count; i++) std::printf(" %.9g", numbers[i]);
  std::printf("\n");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) {
    std::cerr << "usage: run_model MODEL INPUT.f32 CHANNELS HEIGHT WIDTH\n";
    return 2;
  }
  const std::vector<int64_t> shape{1, std::atoll(argv[3]), std::atoll(argv[4]), std::atoll(argv[5])};
  std::vector<float> image = read_floats(argv[2]);
  if (static_cast<int64_t>(image.size()) != shape[1] * shape[2] * shape[3]) {
    std::cerr << "error: " << argv[2] << " does not hold " << shape[1] * shape[2] * shape[3] << " numbers\n";
    return 2;
  }

  auto start = std::chrono::steady_clock::now();
  OrtEnv* env;
  check(api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "run_model", &env));
  OrtSessionOptions* options;
  check(api->CreateSessionOptions(&options));
  check(api->SetIntraOpNumThreads(options, 1));
  OrtSession* session;
  check(api->CreateSession(env, argv[1], options, &session));
  std::printf("loaded in %.1f ms\n", milliseconds_since(start));

  OrtMemoryInfo* memory;
  check(api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
  OrtValue* input;
  check(api->CreateTensorWithDataAsOrtValue(memory, image.data(), image.size() * sizeof(float), shape.data(),
                                            shape.size(), ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &input));
  const auto inputs = names(session, api->SessionGetInputCount, api->SessionGetInputName);
  const auto outputs = names(session, api->SessionGetOutputCount, api->SessionGetOutputName);
  const char* input_name = inputs.at(0).c_str();
  std::vector<const char*> output_names;
  for (const auto& name : outputs) output_names.push_back(name.c_str());

  std::vector<double> times;
  std::vector<OrtValue*> found(outputs.size());
  for (int call = 0; call < kCalls; call++) {
    for (OrtValue* value : found) api->ReleaseValue(value);
    std::fill(found.begin(), found.end(), nullptr);
    start = std::chrono::steady_clock::now();
    check(api->Run(session, nullptr, &input_name, &input, 1, output_names.data(), output_names.size(), found.data()));
    times.push_back(milliseconds_since(start));
  }
  std::nth_element(times.begin(), times.begin() + kCalls / 2, times.end());
  std::printf("a call takes %.3f ms (median of %d)\n", times[kCalls / 2], kCalls);
  for (size_t i = 0; i < outputs.size(); i++) print(outputs[i], found[i]);
  return 0;
}
