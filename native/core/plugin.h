/* The boundary between the addon and a backend in a shared library of its own: a table of C functions on opaque
 * handles and plain structs. core/plugin_backend.h is the addon's side of it, core/plugin_export.h the plugin's.
 *
 * Rules that hold for every function here:
 *  - Nothing of C++ crosses: no object, exception or standard type. Each side frees what it allocated.
 *  - Pointers in arguments are borrowed until the function returns, unless it says otherwise. ResnetText is UTF-8, not
 *    terminated; `const char*` is terminated and lives as long as the library.
 *  - A function that can fail returns a code and has called `report` once if that is not RESNET_OK.
 *  - Functions may be called on any thread, on one handle by one thread at a time where it says so. Callbacks are called on
 *    the caller's thread before the function returns, unless it says otherwise, and must not throw.
 *  - Handles are destroyed before the handle that they were made from.
 *
 * The first four fields of the table keep their place in every version, so that a foreign one can be named.
 */
#ifndef RESNET_CORE_PLUGIN_H
#define RESNET_CORE_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Counts up with every change of this file that moves or retypes a field, and with every change of the plan's text
 * or of the codes of core/status.h. Fields added at the end of the table need none: `size` tells. */
#define RESNET_PLUGIN_ABI 3

/* Codes are the numbers of resnet::Code; a test holds them together. */
typedef int32_t ResnetCode;
#define RESNET_OK 0

typedef struct ResnetBackend ResnetBackend;
typedef struct ResnetWeights ResnetWeights;
typedef struct ResnetProgram ResnetProgram;
typedef struct ResnetLane ResnetLane;
typedef struct ResnetBuffer ResnetBuffer;

typedef struct ResnetText {
  const char* data;
  size_t size;
} ResnetText;

/* Receives a Status. */
typedef struct ResnetReport {
  void* context;
  void (*put)(void* context, ResnetCode code, ResnetText message, ResnetText step);
} ResnetReport;

typedef struct ResnetDevice {
  int32_t index;
  ResnetText name, uuid;
  int32_t capabilityMajor, capabilityMinor, multiprocessors, mig;
  uint64_t memoryBytes, freeBytes, processBytes;
  /* A second: bytes, and FLOP by dtype; 0: not known. */
  double bytesPerSecond, float16Flop, bfloat16Flop, tf32Flop, float32Flop;
  ResnetText ceilingsSource;
} ResnetDevice;
typedef struct ResnetProbe {
  const ResnetDevice* devices;
  size_t deviceCount;
  ResnetText driver, runtime, cudnn, cudnnPath, nvml, nvmlReason, reason;
} ResnetProbe;

typedef struct ResnetBackendOptions {
  int32_t device;
  uint64_t memoryLimit; /* bytes; 0: no cap */
} ResnetBackendOptions;

typedef struct ResnetMemory {
  uint64_t weights, arenas, tensors, staging, limit, process;
  char processReason[256]; /* terminated */
} ResnetMemory;

typedef struct ResnetTensorInfo {
  ResnetText name;
  int32_t dtype; /* resnet::DType */
  const int64_t* shape;
  size_t rank;
} ResnetTensorInfo;

/* Weights of the addon's, read by the plugin on any thread, several at a time. */
typedef struct ResnetWeightsSource {
  void* context;
  /* Calls `put` with what the parameter is, and returns 1; 0: there is none. */
  int32_t (*find)(void* context, ResnetText name, void* to,
                  void (*put)(void* to, const ResnetTensorInfo* info));
  /* The whole tensor as float32, `count` elements, in the checkpoint's order. */
  ResnetCode (*read)(void* context, ResnetText name, float* destination, size_t count,
                     ResnetReport report);
  /* The plugin's last use is over. Called once, also when createWeights fails. */
  void (*release)(void* context);
} ResnetWeightsSource;

/* Asks whether work should stop; called on any thread, often: it must be quick. */
typedef struct ResnetControl {
  void* context;
  int32_t (*stop)(void* context);
} ResnetControl;

/* Fields as in resnet::CompileOptions. */
typedef struct ResnetCompileOptions {
  int32_t maxBatch, threads, precision, deterministic, autotune, graphs, tracks, tileOrder;
  uint64_t workspaceLimit;
  ResnetText isa, engineCache;
} ResnetCompileOptions;

typedef struct ResnetProgramInfo {
  uint64_t arenaBytes, weightBytes;
  int32_t threads;
  char isa[32]; /* terminated */
} ResnetProgramInfo;

typedef struct ResnetExplainRow {
  ResnetText step, kind, implementation;
  const ResnetText* refused;
  size_t refusedCount;
  double flop, bytes, milliseconds, workspaceBytes, ceilingMilliseconds;
} ResnetExplainRow;

/* A decoded picture for an input that resizes; fields as in resnet::Picture. */
typedef struct ResnetPictureAxis {
  double extent;
  int32_t size, first, held, resized, from, length, to;
} ResnetPictureAxis;
typedef struct ResnetPicture {
  ResnetPictureAxis x, y;
  int32_t channels;
  uint64_t pitch; /* bytes */
} ResnetPicture;

typedef struct ResnetPiece {
  void* data; /* of an input only read */
  int32_t images, onDevice;
  const ResnetPicture* picture; /* NULL: images in the input's own shape */
} ResnetPiece;
typedef struct ResnetPieces {
  const ResnetPiece* pieces;
  size_t count;
} ResnetPieces;
typedef struct ResnetSubmission {
  int32_t batch;
  const ResnetPieces* inputs;
  size_t inputCount;
  const ResnetPieces* outputs;
  size_t outputCount;
} ResnetSubmission;

/* What is alive on the plugin's side. */
typedef struct ResnetLiveCounts {
  int32_t backends, weights, programs, lanes, buffers, submissions;
} ResnetLiveCounts;

typedef struct ResnetPlugin {
  uint32_t abi;
  uint32_t size;       /* of this struct, in bytes */
  const char* kind;    /* "cuda" */
  const char* version; /* of the package that it was built from */

  /* What devices there are; never fails. */
  void (*probe)(void* context, void (*put)(void* context, const ResnetProbe* probe));
  void (*liveCounts)(ResnetLiveCounts* counts);

  ResnetCode (*createBackend)(const ResnetBackendOptions* options, ResnetReport report,
                              ResnetBackend** backend);
  void (*destroyBackend)(ResnetBackend* backend);
  void (*memory)(const ResnetBackend* backend, ResnetMemory* memory);

  /* Packed parameters are shared by the programs compiled from one handle. */
  ResnetCode (*createWeights)(ResnetBackend* backend, const ResnetWeightsSource* source,
                              ResnetReport report, ResnetWeights** weights);
  void (*destroyWeights)(ResnetWeights* weights);

  /* `plan` is the JSON text that resnet::parsePlan reads. */
  ResnetCode (*compile)(ResnetBackend* backend, ResnetText plan, ResnetWeights* weights,
                        const ResnetCompileOptions* options, ResnetControl control,
                        ResnetReport report, ResnetProgram** program);
  void (*destroyProgram)(ResnetProgram* program);
  void (*programInfo)(const ResnetProgram* program, ResnetProgramInfo* info);
  void (*explain)(const ResnetProgram* program, void* context,
                  void (*put)(void* context, const ResnetExplainRow* row));

  ResnetCode (*createLane)(const ResnetProgram* program, ResnetReport report, ResnetLane** lane);
  /* Waits for what was submitted. */
  void (*destroyLane)(ResnetLane* lane);
  /* Returns at once. `done` is called once, on a thread of the plugin's or before this returns, with RESNET_OK or a
   * failure; `control` and the memory of the pieces are borrowed until then. One thread at a time per lane. */
  void (*submit)(ResnetLane* lane, const ResnetSubmission* submission, ResnetControl control,
                 ResnetReport done);

  /* Memory of the device. */
  ResnetCode (*allocate)(ResnetBackend* backend, uint64_t bytes, ResnetReport report,
                         ResnetBuffer** buffer, void** data);
  void (*destroyBuffer)(ResnetBuffer* buffer);
  ResnetCode (*upload)(ResnetBackend* backend, ResnetBuffer* to, const void* from, uint64_t bytes,
                       ResnetReport report);
  ResnetCode (*download)(ResnetBackend* backend, void* to, const ResnetBuffer* from, uint64_t bytes,
                         ResnetReport report);
} ResnetPlugin;

/* What a plugin exports, under this name. */
#define RESNET_PLUGIN_SYMBOL "resnetPlugin"
typedef const ResnetPlugin* (*ResnetPluginEntry)(void);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif
