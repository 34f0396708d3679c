// A valid plan that has every kind of step, for the tests of the plan's door.
#pragma once

namespace resnet::test {

// 9 x 7 pixels of 3 channels.
inline constexpr const char* kPlan = R"({"version":1,
"values":[
 {"name":"pixels","shape":[9,7,3],"dtype":"float32"},
 {"name":"stem","shape":[5,4,8],"dtype":"float32"},
 {"name":"maxed","shape":[3,2,8],"dtype":"float32"},
 {"name":"grouped","shape":[3,2,8],"dtype":"float32"},
 {"name":"normed","shape":[3,2,8],"dtype":"float32"},
 {"name":"summed","shape":[3,2,8],"dtype":"float32"},
 {"name":"active","shape":[3,2,8],"dtype":"float32"},
 {"name":"averaged","shape":[2,1,8],"dtype":"float32"},
 {"name":"pooled","shape":[1,1,8],"dtype":"float32"},
 {"name":"logits","shape":[1,1,5],"dtype":"float32"},
 {"name":"probabilities","shape":[1,1,5],"dtype":"float32"},
 {"name":"scores","shape":[1,1,2],"dtype":"float32"},
 {"name":"classes","shape":[1,1,2],"dtype":"int32"}],
"steps":[
 {"kind":"input","name":"input","output":0,"index":0,"dtype":"uint8","layout":"nhwc","mean":[0.485,0.456,0.406],"std":[0.229,0.224,0.225]},
 {"kind":"conv","name":"conv1","input":0,"output":1,"k":8,"kernel":[3,3],"stride":[2,2],"padding":[1,1],"dilation":[1,1],"groups":1,"weight":"conv1.weight","norm":{"weight":"bn1.weight","bias":"bn1.bias","mean":"bn1.mean","var":"bn1.var","eps":0.00001},"activation":"relu"},
 {"kind":"maxPool","name":"maxpool","input":1,"output":2,"kernel":[3,3],"stride":[2,2],"padding":[1,1],"dilation":[1,1],"ceilMode":false},
 {"kind":"conv","name":"layer1.conv2","input":2,"output":3,"residual":2,"k":8,"kernel":[3,1],"stride":[1,1],"padding":[2,0],"dilation":[2,1],"groups":4,"weight":"conv2.weight","bias":"conv2.bias","activation":"none"},
 {"kind":"affine","name":"layer1.bn","input":3,"output":4,"norm":{"mean":"bn2.mean","var":"bn2.var","eps":0},"activation":"none"},
 {"kind":"add","name":"layer1.add","a":3,"b":4,"output":5,"activation":"relu"},
 {"kind":"activation","name":"layer1.relu","input":5,"output":6,"activation":"relu"},
 {"kind":"avgPool","name":"pool","input":6,"output":7,"kernel":[2,2],"stride":[2,2],"padding":[0,0],"dilation":[1,1],"ceilMode":true,"countIncludePad":false},
 {"kind":"globalAvgPool","name":"avgpool","input":7,"output":8},
 {"kind":"linear","name":"fc","input":8,"output":9,"k":5,"weight":"fc.weight","bias":"fc.bias"},
 {"kind":"softmax","name":"softmax","input":9,"output":10},
 {"kind":"topK","name":"topk","input":10,"scores":11,"indices":12,"k":2},
 {"kind":"output","name":"out.logits","input":9,"index":0,"layout":"nchw"},
 {"kind":"output","name":"out.classes","input":12,"index":1,"layout":"nhwc"}],
"parameters":[
 {"name":"conv1.weight","shape":[8,3,3,3]},{"name":"bn1.weight","shape":[8]},{"name":"bn1.bias","shape":[8]},
 {"name":"bn1.mean","shape":[8]},{"name":"bn1.var","shape":[8]},
 {"name":"conv2.weight","shape":[8,2,3,1]},{"name":"conv2.bias","shape":[8]},
 {"name":"bn2.mean","shape":[8]},{"name":"bn2.var","shape":[8]},
 {"name":"fc.weight","shape":[5,8]},{"name":"fc.bias","shape":[5]}],
"inputs":1,"outputs":2})";

}  // namespace resnet::test
